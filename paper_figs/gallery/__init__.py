"""The figures as a gallery: what is current, what changed, the report, and recorded runs.

Imports theory and sims. The program `finegrain figures` imports it; figures read `recorded`.
"""

"""Figures are written without a word on the terminal."""

from matplotlib.figure import Figure

from finegrain.sims.plotting import save


def test_a_prime_in_a_label_raises_no_warning_about_its_font(tmp_path, caplog):
    figure = Figure()
    figure.subplots().set_xlabel(r"$h'$")
    save(figure, tmp_path, "figure")
    assert caplog.text == ""

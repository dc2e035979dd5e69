"""The class names of CIFAR-10 and CIFAR-100, in the order of their labels, and what belongs together.

CIFAR-100's labels follow the names in alphabetical order, and so do those of its 20 superclasses: the table below is
the whole of its fine-to-coarse map (A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009).
"""

from __future__ import annotations

CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

# Pairs of CIFAR-10 that are alike: in kind and build, and mostly also in what surrounds them on a photograph.
SEMANTIC = (
    ("airplane", "ship"),  # large hulls before sky or water
    ("automobile", "truck"),  # road vehicles
    ("cat", "dog"),  # pets
    ("deer", "horse"),  # hoofed
    ("bird", "frog"),  # small and wild
)
# Pairs that are unlike: a vehicle with an animal four times, and the two animals left that differ most in build.
# No pair shares its usual surroundings, such as the sky of airplane and bird.
OPPOSED = (
    ("airplane", "cat"),
    ("automobile", "deer"),
    ("ship", "dog"),
    ("truck", "frog"),
    ("bird", "horse"),
)

SUPERCLASSES = {
    "aquatic_mammals": ("beaver", "dolphin", "otter", "seal", "whale"),
    "fish": ("aquarium_fish", "flatfish", "ray", "shark", "trout"),
    "flowers": ("orchid", "poppy", "rose", "sunflower", "tulip"),
    "food_containers": ("bottle", "bowl", "can", "cup", "plate"),
    "fruit_and_vegetables": ("apple", "mushroom", "orange", "pear", "sweet_pepper"),
    "household_electrical_devices": ("clock", "keyboard", "lamp", "telephone", "television"),
    "household_furniture": ("bed", "chair", "couch", "table", "wardrobe"),
    "insects": ("bee", "beetle", "butterfly", "caterpillar", "cockroach"),
    "large_carnivores": ("bear", "leopard", "lion", "tiger", "wolf"),
    "large_man-made_outdoor_things": ("bridge", "castle", "house", "road", "skyscraper"),
    "large_natural_outdoor_scenes": ("cloud", "forest", "mountain", "plain", "sea"),
    "large_omnivores_and_herbivores": ("camel", "cattle", "chimpanzee", "elephant", "kangaroo"),
    "medium_mammals": ("fox", "porcupine", "possum", "raccoon", "skunk"),
    "non-insect_invertebrates": ("crab", "lobster", "snail", "spider", "worm"),
    "people": ("baby", "boy", "girl", "man", "woman"),
    "reptiles": ("crocodile", "dinosaur", "lizard", "snake", "turtle"),
    "small_mammals": ("hamster", "mouse", "rabbit", "shrew", "squirrel"),
    "trees": ("maple_tree", "oak_tree", "palm_tree", "pine_tree", "willow_tree"),
    "vehicles_1": ("bicycle", "bus", "motorcycle", "pickup_truck", "train"),
    "vehicles_2": ("lawn_mower", "rocket", "streetcar", "tank", "tractor"),
}
CIFAR100 = tuple(sorted(name for members in SUPERCLASSES.values() for name in members))

#!/usr/bin/env python3
"""tests/golden/ilsvrc/: ILSVRC2012's meta.mat in small, as MATLAB writes it and scipy does, compressed and not.

Four classes, the children of a fifth synset, in the order of the challenge's numbers, which is not that of their WordNet
identifiers; two share a word. Needs numpy and scipy.
"""
import pathlib

import numpy as np
import scipy.io

FOLDER = pathlib.Path(__file__).parent / "ilsvrc"
SYNSETS = [  # ILSVRC2012_ID, WNID, words, children
    (1, "n02012849", "crane", []),
    (2, "n01440764", "tench, Tinca tinca", []),
    (3, "n03126707", "crane", []),
    (4, "n02084071", "dog, domestic dog, Canis familiaris", []),
    (5, "n00001740", "entity", [1, 2, 3, 4]),
]
FIELDS = ["ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images"]


def main():
    FOLDER.mkdir(exist_ok=True)
    synsets = np.zeros((len(SYNSETS), 1), dtype=[(field, object) for field in FIELDS])
    for i, (number, wnid, words, children) in enumerate(SYNSETS):
        synsets[i, 0] = (float(number), wnid, words, "what it is", len(children), np.array(children, dtype=float), 0, 1300)
    for name, compressed in [("meta.mat", True), ("plain.mat", False)]:
        scipy.io.savemat(FOLDER / name, {"synsets": synsets}, do_compression=compressed)


main()

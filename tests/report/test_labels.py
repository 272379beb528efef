"""Labels keep off points, lines and one another."""

from itertools import combinations

from tfcli.report.labels import Box, place

INNER = Box(0, 0, 300, 200)


def test_a_lone_label_stands_to_the_right_of_its_point():
    label = place((50, 100), "dense", 12, INNER, [])
    assert label.anchor == "start" and label.x > 50
    assert label.box.top < 100 < label.box.bottom


def test_at_the_right_edge_it_stands_on_the_left():
    label = place((298, 100), "dense", 12, INNER, [])
    assert label.anchor == "end" and label.x < 298


def test_labels_of_points_at_one_place_do_not_overlap():
    taken = [Box(145, 95, 155, 105)]
    labels = []
    for name in ("RTN 4-bit", "GPTQ 4-bit", "RTN 3-bit", "GPTQ 3-bit", "RTN 2-bit", "dense"):
        label = place((150, 100), name, 12, INNER, taken)
        labels.append(label.box)
        taken.append(label.box)
    assert all(one.overlap(other) == 0 for one, other in combinations(taken, 2))
    assert all(box.overlap(INNER) == box.area for box in labels)

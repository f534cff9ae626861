"""A tree holds what texts share once, and places tokens as the model's own code does."""

import pytest
import torch

from facetry.predictors.vlm.prompts import ROOT, Tree
from facetry.predictors.vlm.qwen import Qwen


def test_common_prefixes_are_stored_once() -> None:
    tree = Tree()
    start = tree.add([1, 2])
    ends = [tree.add(text, start) for text in ([3, 4], [3, 5], [6], [3, 4])]
    assert tree.tokens == [1, 2, 3, 4, 5, 6]
    assert tree.parents == [ROOT, 0, 1, 2, 2, 1]
    assert ends == [3, 4, 5, 3]
    assert tree.path(ends[1]) == [0, 1, 2, 4]
    assert [sum(sees) for sees in tree.ancestors().tolist()] == [1, 2, 3, 4, 4, 3]


def test_nothing_added() -> None:
    tree = Tree()
    assert (tree.add([]), tree.path(ROOT), len(tree), tree.next_position(ROOT)) == (ROOT, [], 0, 0)


def test_a_token_sees_its_ancestors_and_itself() -> None:
    tree = Tree()
    start = tree.add([1])
    one, other = tree.add([2], start), tree.add([3], start)
    sees = tree.ancestors()
    assert sees[one].tolist() == [True, True, False]
    assert sees[other].tolist() == [True, False, True]


@pytest.mark.parametrize("side", [1, 2, 3])
def test_positions_are_the_models_own(side: int, qwen: Qwen) -> None:
    photo = [qwen.image_token] * side**2
    texts = [[10, 11, 12], photo, [13], photo, [14, 15]]
    tree, end = Tree(), ROOT
    for text in texts:
        is_photo = text is photo
        end = tree.add_image(qwen.image_token, side, end) if is_photo else tree.add(text, end)
    expected, _ = qwen.network.model.get_rope_index(
        torch.tensor([tree.tokens]),
        mm_token_type_ids=torch.tensor([[int(each == qwen.image_token) for each in tree.tokens]]),
        image_grid_thw=torch.tensor([[1, 2 * side, 2 * side]] * 2),
    )
    assert torch.tensor(tree.positions).T.tolist() == expected[:, 0].tolist()
    assert tree.next_position(end) == int(expected.max()) + 1

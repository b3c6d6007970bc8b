from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_files import cifar_10, cifar_100
from configurations import CNN

from metatune.errors import DataError
from metatune.networks.data.cifar import read_folder
from metatune.networks.data.loading import load
from metatune.networks.data.splits import split_rest
from metatune.networks.training import Training


def test_images_and_labels_are_those_of_the_records(tmp_path: Path) -> None:
    parts = cifar_10(tmp_path)
    table = read_folder(tmp_path)
    whole = np.concatenate(parts)
    assert table.images is not None
    assert table.images.dtype == np.uint8
    assert table.images.shape == (240, 3, 32, 32)
    row, green, y, x = 77, 1, 5, 30
    assert table.images[row, green, y, x] == whole[row, 1 + green * 1024 + y * 32 + x]
    dataset = load(tmp_path)
    assert dataset.labels == tuple(f"class{number}" for number in range(10))
    assert dataset.shape == (3, 32, 32)
    assert dataset.test.targets.tolist() == parts[-1][:, 0].tolist()
    assert (len(dataset.train), len(dataset.validation), len(dataset.test)) == (160, 40, 40)
    assert float(dataset.train.inputs.mean()) == pytest.approx(0.0, abs=1e-5)
    assert torch.equal(load(tmp_path).train.inputs, dataset.train.inputs)


def test_the_finer_of_two_labels_is_the_target_unless_the_other_is_named(tmp_path: Path) -> None:
    parts = cifar_100(tmp_path)
    fine, coarse = load(tmp_path), load(tmp_path, "coarse")
    assert fine.labels[:3] == ("0", "1", "2")
    assert fine.test.targets.tolist() == parts[1][:, 1].tolist()
    names = [coarse.labels[number] for number in coarse.test.targets.tolist()]
    assert names == [f"coarse{number}" for number in parts[1][:, 0]]
    assert fine.data_hash != coarse.data_hash
    assert coarse.name == f"{tmp_path.stem}-coarse"
    with pytest.raises(DataError, match=r"no target 'target'; there are \['coarse', 'fine'\]"):
        load(tmp_path, "target")


def test_a_network_learns_from_them(tmp_path: Path) -> None:
    cifar_10(tmp_path, 60)
    config = {
        **CNN, "schedule": "constant", "weight_decay": 0.0, "gradient_clipping": False,
        "loss": "cross_entropy", "label_smoothing": 0.0, "optimizer": "adam", "beta1": 0.9,
        "beta2": 0.999, "learning_rate": 1e-2, "batch_size": 32, "dropout": 0.0,
    }  # fmt: skip
    training = Training(config, load(tmp_path), epochs=6)
    first, *_, last = training.fit()
    assert last["validation_loss"] < 0.8 * first["validation_loss"]


def test_what_is_no_whole_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data_batch_1.bin to data_batch_5.bin and test_batch"):
        load(tmp_path)
    cifar_10(tmp_path)
    names = tmp_path / "batches.meta.txt"
    names.write_text("cat\ndog\n")
    with pytest.raises(DataError, match=r"batches.meta.txt: 2 distinct names; label 9 needs 10"):
        load(tmp_path)
    names.unlink()
    assert load(tmp_path).labels[9] == "9"
    whole = (tmp_path / "data_batch_3.bin").read_bytes()
    (tmp_path / "data_batch_3.bin").write_bytes(whole[:-1])
    with pytest.raises(DataError, match=r"data_batch_3.bin: \d+ bytes are no whole number"):
        load(tmp_path)
    (tmp_path / "data_batch_3.bin").unlink()
    with pytest.raises(DataError, match=r"data_batch_3.bin is missing beside"):
        load(tmp_path)


def test_rows_set_apart_stay_so_and_the_others_are_shared_out() -> None:
    classes = np.arange(100) % 3
    test = np.arange(70, 100)
    train, validation, kept = split_rest(100, 1, test, classes)
    assert kept.tolist() == test.tolist()
    assert sorted([*train, *validation]) == list(range(70))
    assert len(validation) == sum(round(0.2 * (classes[:70] == c).sum()) for c in range(3))
    assert split_rest(100, 1, test, classes).train.tolist() == train.tolist()
    assert split_rest(100, 2, test, classes).validation.tolist() != validation.tolist()

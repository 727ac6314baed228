"""`.npz` files whose arrays may have any name."""

import io
import zipfile

import numpy as np


def write(path, arrays):
    """Writes arrays by name."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(array).reshape(np.shape(array)))
            archive.writestr(f"{name}.npy", buffer.getvalue())


def read(path):
    """Reads arrays by name."""
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for entry in archive.namelist():
            arrays[entry.removesuffix(".npy")] = np.lib.format.read_array(io.BytesIO(archive.read(entry)))
    return arrays


def stacked(arrays):
    """Samples as one array: joined along a first axis of extent 1, else along a new axis."""
    first = np.asarray(arrays[0])
    if first.ndim and first.shape[0] == 1:
        return np.concatenate(arrays)
    return np.stack(arrays)

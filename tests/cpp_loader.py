"""Run a SavedModel as TF Serving does: the wheel's own C++ loader through ctypes, no TensorFlow in Python.

A graph that needs `keras_linreg`, Keras or a Python function in its process fails here, as it would on a server.

    python tests/cpp_loader.py MODEL_DIR    # the signatures, as JSON

Numbers keep their dtype: a signature of float32 refuses float64. Strings come back as object arrays of bytes. NumPy's
dtype 'S' drops trailing zero bytes, and a serialized tf.Example may end in one: use a list of bytes or an object array.
"""

import argparse
import ctypes
import enum
import importlib.util
import json
import os
import pickle
import sys
import time
from pathlib import Path

import numpy as np

STRING = 7
STRING_BYTES = 24  # sizeof(TF_TString)
DTYPES = {1: "float32", 2: "float64", 3: "int32", STRING: "string", 9: "int64", 10: "bool"}
LIBRARIES = "libtensorflow_framework.so.2", "libtensorflow_cc.so.2"

# name:result and arguments. By default, ctypes cuts pointers and sizes down to an int.
PROTOTYPES = """
    NewStatus:p GetCode:ip Message:sp NewBuffer:B NewSessionOptions:p NewGraph:p DeleteSession:vpp
    LoadSessionFromSavedModel:pppspipBp GraphOperationByName:pps SessionRun:vppppippipipp AllocateTensor:pipin
    DeleteTensor:vp TensorData:pp TensorType:ip NumDims:ip Dim:lpi StringInit:vp StringCopy:vpsn
    StringGetDataPointer:pp StringGetSize:np
"""


class Code(enum.IntEnum):
    """TF_Code: the numbers of absl and gRPC."""

    OK, CANCELLED, UNKNOWN, INVALID_ARGUMENT, DEADLINE_EXCEEDED, NOT_FOUND = range(6)
    ALREADY_EXISTS, PERMISSION_DENIED, RESOURCE_EXHAUSTED, FAILED_PRECONDITION, ABORTED = range(6, 11)
    OUT_OF_RANGE, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, UNAUTHENTICATED = range(11, 17)


class ServingError(Exception):
    """The error that a client would get: `code` (`error.code == 3`, `error.code.name`) and `message`."""

    def __init__(self, code, message):
        self.code, self.message = Code(code), message
        super().__init__(f"{self.code.name} ({int(code)}): {message}")


class _Buffer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("length", ctypes.c_size_t), ("deallocator", ctypes.c_void_p))


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def _load_library():
    spec = importlib.util.find_spec("tensorflow")  # finds the folder without running tensorflow/__init__.py
    folders = [Path(folder) for folder in spec.submodule_search_locations] if spec else []
    folder = next((f for f in folders if all((f / name).is_file() for name in LIBRARIES)), None)
    if folder is None:
        searched = ", ".join(map(str, folders)) or "no tensorflow is installed"
        raise RuntimeError(f"The loader needs {LIBRARIES} of a Linux TensorFlow wheel. Searched: {searched}")
    for name in LIBRARIES:
        library = ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL)
    letters = {"p": ctypes.c_void_p, "s": ctypes.c_char_p, "n": ctypes.c_size_t, "l": ctypes.c_int64}
    letters |= {"i": ctypes.c_int, "v": None, "B": ctypes.POINTER(_Buffer)}
    for prototype in PROTOTYPES.split():
        name, types = prototype.split(":")
        function = getattr(library, f"TF_{name}")  # cc links to framework: its handle finds all symbols
        function.restype, *function.argtypes = (letters[t] for t in types)
    return library


def _fields(message):
    """Yield (field number, value) of a serialized proto.

    TensorFlow's own meta_graph_pb2 would import TensorFlow. We need nothing but signature_def, and the wire format
    never changes.
    """
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        more = True
        while more:
            value |= (message[at] & 127) << shift
            more = message[at] & 128
            at, shift = at + 1, shift + 7
        return value

    while at < len(message):
        number, kind = divmod(varint(), 8)
        if kind == 0:
            yield number, varint()
        else:
            size = varint() if kind == 2 else {1: 8, 5: 4}[kind]
            yield number, message[at : at + size]
            at += size


def _map(message, number, parse):
    entries = [dict(_fields(value)) for field, value in _fields(message) if field == number]
    # A proto map comes in any order; sorted, two reads compare equal as text too.
    return dict(sorted((bytes(e.get(1, b"")).decode(), parse(e.get(2, b""))) for e in entries))


def _tensor_info(message):
    info = {2: 0, **dict(_fields(message))}
    dims = [value for field, value in _fields(info[3]) if field == 2] if 3 in info else []
    sizes = [dict(_fields(dim)).get(1, 0) for dim in dims]
    return {
        "name": bytes(info.get(1, b"")).decode(),
        "dtype": DTYPES.get(info[2], f"DT_{info[2]}"),
        "shape": None if (3, 1) in _fields(info.get(3, b"")) else [n - (n >> 63 << 64) for n in sizes],
    }


def _signature(message):
    inputs, outputs = _map(message, 1, _tensor_info), _map(message, 2, _tensor_info)
    method_name = bytes(dict(_fields(message)).get(3, b"")).decode()
    return {"inputs": inputs, "outputs": outputs, "method_name": method_name}


def _as_array(value):
    array = np.asarray(value, order="C")
    if array.dtype.kind in "SU" and not isinstance(value, np.ndarray):
        return np.asarray(value, dtype=object)  # while the trailing zero bytes are still there
    return array


class SavedModel:
    """A SavedModel in a C++ session.

    `signatures`: key -> {"inputs", "outputs": {key: {"name", "dtype", "shape"}}, "method_name"}. A size of -1 is
    unknown; a shape of None has an unknown rank.
    """

    def __init__(self, model_dir, tag="serve"):
        self._c = c = _load_library()
        self._status, self._graph, buffer = c.TF_NewStatus(), c.TF_NewGraph(), c.TF_NewBuffer()
        path, tags = os.fspath(model_dir).encode(), (ctypes.c_char_p * 1)(tag.encode())
        self._session = c.TF_LoadSessionFromSavedModel(
            c.TF_NewSessionOptions(), None, path, tags, 1, self._graph, buffer, self._status
        )
        self._check()
        meta_graph = memoryview(ctypes.string_at(buffer.contents.data, buffer.contents.length))
        self.signatures = _map(meta_graph, 5, _signature)
        self.signatures.pop("__saved_model_init_op", None)  # TensorFlow's own, run by the loader

    def close(self):
        self._c.TF_DeleteSession(self._session, self._status)

    def run(self, signature, inputs):
        """Run one signature on a dict of arrays; return a dict of arrays, or raise the server's error."""
        if signature not in self.signatures:
            raise ServingError(Code.FAILED_PRECONDITION, f'Serving signature key "{signature}" not found.')
        arguments, outputs = self.signatures[signature]["inputs"], self.signatures[signature]["outputs"]
        if arguments.keys() != inputs.keys():
            extra, missing = sorted(inputs.keys() - arguments.keys()), sorted(arguments.keys() - inputs.keys())
            message = f"inputs do not match signature. Sent extra: {extra}. Missing but required: {missing}."
            raise ServingError(Code.INVALID_ARGUMENT, message)
        feeds = (_Output * len(arguments))(*(self._endpoint(info["name"]) for info in arguments.values()))
        fetches = (_Output * len(outputs))(*(self._endpoint(info["name"]) for info in outputs.values()))
        fed, fetched = (ctypes.c_void_p * len(arguments))(), (ctypes.c_void_p * len(outputs))()
        try:
            for i, key in enumerate(arguments):
                fed[i] = self._to_tensor(key, _as_array(inputs[key]))
            ends = feeds, fed, len(fed), fetches, fetched, len(fetched)
            self._c.TF_SessionRun(self._session, None, *ends, None, 0, None, self._status)
            self._check()
            return {key: self._to_array(key, tensor) for key, tensor in zip(outputs, fetched, strict=True)}
        finally:
            for tensor in filter(None, (*fed, *fetched)):
                self._c.TF_DeleteTensor(tensor)

    def seconds(self, signature, inputs, runs):
        """Return the seconds of each run of one signature, without the conversion of tensors."""
        arguments, outputs = self.signatures[signature]["inputs"], self.signatures[signature]["outputs"]
        feeds = (_Output * len(arguments))(*(self._endpoint(info["name"]) for info in arguments.values()))
        fetches = (_Output * len(outputs))(*(self._endpoint(info["name"]) for info in outputs.values()))
        fed = (ctypes.c_void_p * len(arguments))(*(self._to_tensor(key, _as_array(inputs[key])) for key in arguments))
        fetched = (ctypes.c_void_p * len(outputs))()
        ends = feeds, fed, len(fed), fetches, fetched, len(fetched)
        durations = []
        for _ in range(runs):
            start = time.perf_counter()
            self._c.TF_SessionRun(self._session, None, *ends, None, 0, None, self._status)
            durations.append(time.perf_counter() - start)
            self._check()
            for tensor in fetched:
                self._c.TF_DeleteTensor(tensor)
        for tensor in fed:
            self._c.TF_DeleteTensor(tensor)
        return durations

    def _check(self):
        if code := self._c.TF_GetCode(self._status):
            raise ServingError(code, self._c.TF_Message(self._status).decode(errors="replace"))

    def _endpoint(self, tensor):
        name, _, index = tensor.partition(":")
        operation = self._c.TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise ServingError(Code.NOT_FOUND, f"The signature names {tensor!r}, which is not in the graph.")
        return _Output(operation, int(index or 0))

    def _to_tensor(self, key, array):
        name = "string" if array.dtype.kind in "SUO" else array.dtype.name
        code = next((code for code in DTYPES if DTYPES[code] == name), None)
        if code is None:
            raise ServingError(Code.UNIMPLEMENTED, f"This loader takes no {name}. Received: {key!r}")
        dims = (ctypes.c_int64 * array.ndim)(*array.shape)
        size = array.size * STRING_BYTES if code == STRING else array.nbytes
        tensor = self._c.TF_AllocateTensor(code, dims, array.ndim, size)
        data = self._c.TF_TensorData(tensor)
        if code != STRING:
            ctypes.memmove(data, array.ctypes.data, size)
            return tensor
        for i, text in enumerate(array.ravel().tolist()):
            text = text.encode() if isinstance(text, str) else text
            self._c.TF_StringInit(data + i * STRING_BYTES)
            self._c.TF_StringCopy(data + i * STRING_BYTES, text, len(text))
        return tensor

    def _to_array(self, key, tensor):
        code, data = self._c.TF_TensorType(tensor), self._c.TF_TensorData(tensor)
        shape = [self._c.TF_Dim(tensor, i) for i in range(self._c.TF_NumDims(tensor))]
        if code not in DTYPES:
            raise ServingError(Code.UNIMPLEMENTED, f"This loader reads no DT_{code}. Received: {key!r}")
        array = np.empty(shape, dtype=object if code == STRING else DTYPES[code])
        if code != STRING:
            ctypes.memmove(array.ctypes.data, data, array.nbytes)
            return array
        for i in range(array.size):
            text = data + i * STRING_BYTES
            size = self._c.TF_StringGetSize(text)
            array.flat[i] = ctypes.string_at(self._c.TF_StringGetDataPointer(text), size)
        return array


def _answer_requests(stdin, stdout):
    """Answer pickled requests until there are no more."""
    models = {}

    def load(folder):
        graph = Path(folder, "saved_model.pb")
        version = graph.stat().st_mtime_ns if graph.exists() else None  # the folder may hold another model by now
        if (folder, version) not in models:
            models[folder, version] = SavedModel(folder)
        return models[folder, version]

    while True:
        try:
            request = pickle.load(stdin)
        except EOFError:
            return
        try:
            if isinstance(request, str):
                answer = load(request).signatures
            else:
                folder, signature, inputs = request
                answer = load(folder).run(signature, inputs)
        except ServingError as error:
            answer = int(error.code), error.message
        _check_it_stands_alone()
        pickle.dump(answer, stdout)
        stdout.flush()


def _check_it_stands_alone():
    imported = {"tensorflow", "keras", "keras_linreg"} & sys.modules.keys()
    assert not imported, f"the loader must stand alone, but these modules are imported: {imported}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model_dir", nargs="?")
    parser.add_argument("--requests", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    # Few messages on stderr but the error (those from loading the library cannot be silenced), and the same answer with
    # and without a GPU.
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    if arguments.requests:
        # Whatever prints to stdout must not get among the answers.
        stdout = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)
        _answer_requests(sys.stdin.buffer, stdout)
        return
    try:
        print(json.dumps(SavedModel(arguments.model_dir).signatures, indent=2))
    except ServingError as error:
        sys.exit(str(error))
    _check_it_stands_alone()


if __name__ == "__main__":
    main()

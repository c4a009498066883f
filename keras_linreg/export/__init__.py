"""The SavedModel that TF Serving loads, and the folder of versions that it watches."""

from keras_linreg.export.publish import publish
from keras_linreg.export.signatures import safe_names
from keras_linreg.export.write import check_input_dtype, write

__all__ = ["check_input_dtype", "publish", "safe_names", "write"]

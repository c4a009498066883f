"""The SavedModel that TF Serving loads, and the folder of versions that it watches."""

from keras_linreg.export.intervals import check_threshold
from keras_linreg.export.manifest import verify
from keras_linreg.export.publish import publish
from keras_linreg.export.signatures import check_style
from keras_linreg.export.write import check_input_dtype, write_saved_model

__all__ = ["check_input_dtype", "check_style", "check_threshold", "publish", "verify", "write_saved_model"]

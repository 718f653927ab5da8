"""Generated examples are the same in every run, and take the time that a busy machine gives them."""

from hypothesis import settings

settings.register_profile("codecs", deadline=None, derandomize=True)
settings.load_profile("codecs")

"""One exchange on its way through the house: the parts of the story that `engine/pipeline.py` tells."""

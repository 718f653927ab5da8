"""Pattern sets of shipped packs, for whoever needs them beside the rules: a recorder that masks secrets."""

from engine.language.patterns import PatternSet, compile_pattern

from .names import pattern_parts
from .read import read_policy
from .sources import pack_source


def shipped_patterns(pack: str) -> PatternSet:
    """All patterns of a pack as one set; an empty one where the pack has none, or is not there."""
    source = pack_source(pack)
    spec = read_policy(source.text, source.file).spec if source is not None else None
    written = {name: each for patterns in spec.patterns.values() for name, each in patterns.items()} if spec else {}
    return PatternSet(pack, [compile_pattern(name, *pattern_parts(each)) for name, each in written.items()])

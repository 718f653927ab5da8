"""Pages about the configuration and its sources of policies, and about what a running server says."""

from typing import Final

PAGES: Final = r"""
E120: a setting does not exist.

A misspelt setting would leave its default in force, in silence.

Configuration:
    sever: {port: 9000}  # <--
Better configuration:
    server: {port: 9000}

E121: a setting has a wrong value.

The server does not start with a value that it would have to guess at.

Configuration:
    server: {port: high}  # <--
Better configuration:
    server: {port: 9000}

E122: a setting is missing.

A backend whose protocol is not said cannot be asked.

Configuration:
    backends: {cloud: {base_url: "https://api.example/v1", api_key: key}}  # <--
Better configuration:
    backends: {cloud: {protocol: openai, base_url: "https://api.example/v1", api_key: key}}

E123: a variable of the environment, or a secret's file, is not there.

A server that starts without its key answers every request with an error of its provider. Set the variable, or give it a
default: `${NAME:-default}`. Lint itself does not need the values.

E124: settings contradict each other, or cannot work.

Each may be right alone: several workers cannot share `memory://`, team mode cannot do without keys. What cannot work
together is said at the start and not at the first request.

E125: the configuration file is not there or cannot be read.

A server that went on without it would serve everything by default. Check the path, and who may read the file.

E150: a source of policies that the configuration lists is not there or cannot be read.

A guard that is missing because of a typing error in a path is no guard.

Configuration:
    policies: [./polices]  # <--
Better configuration:
    policies: []

W151: a source of policies that the configuration lists holds none.

The folder is there and has no file that ends in `.yaml` or `.yml`. Most often it is the folder above or below that was
meant.

E152: a pack that the configuration switches on does not exist.

Packs are shipped with Lexgate; `policy packs` lists them.

Configuration:
    packs: {secerts: {}}  # <--
Better configuration:
    packs: {secrets: {}}

E153: `outbound.allow` lists what is no host and no network.

It says which private addresses may be called; an entry that is neither would allow nothing, or not what was meant.

E154: an override names a set or rule that the pack does not have.

The pack would go on with its own list, and whoever wrote the override would believe otherwise.

Configuration:
    packs: {content-filter: {sets: {marking: [secret]}}}  # <--
Better configuration:
    packs: {content-filter: {sets: {markings: [secret]}}}

E430: a source of policies cannot be read.

Said by a running server when a folder or file cannot be opened any more. The last good set goes on.

E431: a source of policies that had rules has vanished.

Said by a running server: a volume that was unmounted must not switch the guards off. The last good set goes on.

E432: a source of policies that had rules is empty.

Said by a running server: a half-done copy or checkout must not switch the guards off. The last good set goes on.

E433: files of policies keep changing, so that no set of them can be read whole.

Said by a running server where something writes to the folder all the time. Policies are read when the files are quiet;
find out what writes.

E434: a policy's own test fails, so that it does not go live.

Tests in a policy are its specification. A rule that does not do what its test says is no guard; run `policy test FILE` to
see what differs.

E435: the process that compiles policies died; it is started again.

Said by a running server. Nothing of the traffic is lost: the last good set goes on.

E436: the compiler, or the change to the new set, failed: a mistake of Lexgate.

Said by a running server, with what can be reported. The last good set goes on.

W437: the last good set could not be kept.

Said by a running server that may not write to its folder: after a restart with a broken file it would have no rules to go
on with.

W438: rules that were enforced are so no longer.

Said by a running server when a reload removed rules, or put them in shadow. It may be meant; somebody should know.

W450: a revision is pinned, so that a changed set waits.

Said by a running server that was told to stay with one revision: what was edited since is not in force.
"""

"""Tables of programs: which have subcommands, which run another command, which read a script, what aliases mean."""

from collections.abc import Mapping

import msgspec


def _options(text: str) -> frozenset[str]:
    return frozenset(text.split())


_NO_OPTIONS: frozenset[str] = frozenset()

# Program -> its global options that take their value as the next word.
SUBCOMMANDS: Mapping[str, frozenset[str]] = {
    "git": _options("-C -c --git-dir --work-tree --namespace --super-prefix --config-env --exec-path --attr-source"),
    "hg": _options("-R --repository --cwd --config --encoding"),
    "svn": _options("--username --password --config-dir --config-option"),
    "jj": _options("-R --repository --config --at-operation --at-op --color"),
    "gh": _options("-R --repo --hostname"),
    "glab": _options("-R --repo"),
    "docker": _options("-c --context -H --host -l --log-level --config --tlscacert --tlscert --tlskey"),
    "docker-compose": _options(
        "-f --file -p --project-name --profile --env-file --project-directory --ansi -H --host -c --context"
    ),
    "podman": _options("--connection -c --url --identity --log-level --root --runroot --storage-driver --storage-opt"),
    "nerdctl": _options("-n --namespace -a --address --host --snapshotter --data-root"),
    "kubectl": _options(
        "-n --namespace --context --cluster --user --kubeconfig -s --server --token --as --as-group --request-timeout"
        " -v --v --certificate-authority --client-certificate --client-key --cache-dir --profile"
    ),
    "oc": _options("-n --namespace --context --cluster --user --kubeconfig -s --server --token --as"),
    "helm": _options("-n --namespace --kube-context --kubeconfig --registry-config --repository-cache"),
    "kustomize": _NO_OPTIONS,
    "minikube": _options("-p --profile"),
    "kind": _options("-v --verbosity"),
    "argocd": _options("--server --auth-token --config --grpc-web-root-path"),
    "flux": _options("-n --namespace --context --kubeconfig"),
    "terraform": _options("-chdir"),
    "tofu": _options("-chdir"),
    "terragrunt": _options("--terragrunt-working-dir --working-dir"),
    "pulumi": _options("-C --cwd --color -v --verbose"),
    "vault": _options("-address -namespace -ca-cert"),
    "consul": _NO_OPTIONS,
    "nomad": _options("-address -region -namespace"),
    "aws": _options(
        "--profile --region --output --endpoint-url --query --color --ca-bundle --cli-read-timeout --cli-connect-timeout"
    ),
    "gcloud": _options(
        "--project --account --configuration --format --verbosity --impersonate-service-account --billing-project"
    ),
    "gsutil": _options("-o -h -i -u"),
    "bq": _options("--project_id --dataset_id --location --format"),
    "az": _options("--subscription -o --output --query"),
    "doctl": _options("-t --access-token -c --config --context -o --output"),
    "heroku": _options("-a --app -r --remote"),
    "flyctl": _options("-a --app -c --config -t --access-token"),
    "fly": _options("-a --app -c --config -t --access-token"),
    "vercel": _options("-t --token -S --scope --cwd -A --local-config -Q --global-config"),
    "netlify": _options("--auth --filter"),
    "firebase": _options("-P --project --account --token"),
    "supabase": _options("--workdir --profile"),
    "wrangler": _options("-c --config -e --env --cwd"),
    "npm": _options("--prefix -C --registry -w --workspace --loglevel --userconfig --cache"),
    "pnpm": _options("-C --dir -F --filter --prefix --loglevel"),
    "yarn": _options("--cwd --registry --modules-folder --cache-folder"),
    "bun": _options("--cwd -c --config --env-file"),
    "deno": _options("-L --log-level"),
    "pip": _options("--python --log --proxy --cache-dir --retries --timeout --exists-action --trusted-host --cert"),
    "pip3": _options("--python --log --proxy --cache-dir --retries --timeout --exists-action --trusted-host --cert"),
    "pipx": _NO_OPTIONS,
    "pipenv": _options("--python"),
    "uv": _options("--directory --project --config-file --cache-dir --color --python-preference --allow-insecure-host"),
    "poetry": _options("-C --directory -P --project"),
    "pdm": _options("-p --project -c --config"),
    "hatch": _options("-e --env -p --project --data-dir --cache-dir --config"),
    "rye": _NO_OPTIONS,
    "conda": _options("-n --name -p --prefix"),
    "mamba": _options("-n --name -p --prefix"),
    "cargo": _options("--color -Z --config -C --explain"),
    "rustup": _NO_OPTIONS,
    "go": _options("-C"),
    "dotnet": _options("--fx-version --additionalprobingpath"),
    "nuget": _NO_OPTIONS,
    "gem": _options("--config-file"),
    "bundle": _options("--retry"),
    "composer": _options("-d --working-dir"),
    "mix": _NO_OPTIONS,
    "stack": _options("--stack-yaml --resolver --work-dir"),
    "cabal": _options("--config-file --store-dir"),
    "swift": _NO_OPTIONS,
    "flutter": _options("-d --device-id"),
    "systemctl": _options("-H --host -M --machine -t --type -p --property --root -n --lines -o --output -s --signal"),
    "service": _NO_OPTIONS,
    "loginctl": _options("-H --host -M --machine"),
    "launchctl": _NO_OPTIONS,
    "apt": _options("-o --option -c --config-file -t --target-release -a --host-architecture"),
    "apt-get": _options("-o --option -c --config-file -t --target-release -a --host-architecture"),
    "apk": _options("-p --root -X --repository --repositories-file --arch --keys-dir"),
    "dnf": _options("-c --config --installroot --repo --releasever --enablerepo --disablerepo -x --exclude"),
    "yum": _options("-c --config --installroot --repo --releasever --enablerepo --disablerepo -x --exclude"),
    "zypper": _options("-R --root -C --cache-dir -c --config"),
    "brew": _NO_OPTIONS,
    "port": _options("-D -F"),
    "snap": _NO_OPTIONS,
    "flatpak": _NO_OPTIONS,
    "nix": _options("--option --store"),
    "choco": _NO_OPTIONS,
    "winget": _NO_OPTIONS,
    "scoop": _NO_OPTIONS,
    "ip": _options("-n -netns -f -family -b -batch"),
    "nmcli": _options("-f --fields -w --wait -c --colors"),
    "ufw": _NO_OPTIONS,
    "zfs": _NO_OPTIONS,
    "zpool": _NO_OPTIONS,
    "cryptsetup": _NO_OPTIONS,
    "btrfs": _NO_OPTIONS,
    "tmux": _options("-L -S -f -c -T"),
    "openssl": _NO_OPTIONS,
    "redis-cli": _options("-h -p -a -n -u -s --user --pass -i -r"),
    "rails": _NO_OPTIONS,
    "diskutil": _NO_OPTIONS,
    "vssadmin": _NO_OPTIONS,
    "wsl": _options("-d --distribution -u --user --cd"),
    "net": _NO_OPTIONS,
    "reg": _NO_OPTIONS,
    "sc": _NO_OPTIONS,
    "netsh": _NO_OPTIONS,
}

# Programs whose long options have one dash: `-delete` is one name and not six letters.
LONG_WITH_ONE_DASH = _options(
    "find gfind terraform tofu terragrunt go java javac ffmpeg ffprobe openssl xcodebuild security vault nomad consul"
    " powershell pwsh convert magick jarsigner keytool qemu-system-x86_64 qemu-img xrandr packer dig screencapture"
)
# Their words are text and never options.
TAKES_NO_FLAGS = _options(": true false [ [[")

SHELLS = _options("sh bash zsh dash ksh mksh ash fish rbash yash")
SHELL_OPTIONS_WITH_VALUE = _options("-o +o -O +O --rcfile --init-file")
# Programs that run what they read on standard input as a script of the shell.
SCRIPT_READERS = SHELLS | {"at", "batch"}
POWERSHELLS = _options("powershell pwsh powershell_ise")
CMDS = _options("cmd command.com")


class Wrapper(msgspec.Struct, frozen=True):
    """A program that runs the command given in its words.

    `values` are its options that take the next word, `skips` the operands of its own before the command, `text` that
    the rest is joined and read as shell text, `only` the subcommands with which it does so, `query` the flags with
    which it runs nothing, `script` the options whose value is shell text (`su -c`).
    """

    values: frozenset[str] = frozenset()
    skips: int = 0
    text: bool = False
    only: frozenset[str] = frozenset()
    query: frozenset[str] = frozenset()
    script: frozenset[str] = frozenset()
    assigns: bool = False
    stdin_words: bool = False


_CONTAINER_VALUES = _options(
    "-u --user -e --env -w --workdir -v --volume -p --publish --name --network --net --entrypoint --mount --env-file"
    " -l --label -h --hostname --cpus -m --memory --platform --gpus --add-host --cap-add --device --restart --pid --ipc"
)
_KUBE_VALUES = _options("-c --container -n --namespace --context -f --filename --image --pod-running-timeout")

WRAPPERS: Mapping[str, Wrapper] = {
    "sudo": Wrapper(
        values=_options(
            "-u --user -g --group -h --host -p --prompt -C --close-from -D --chdir -R --chroot -r --role -t --type"
            " -T --command-timeout -U --other-user"
        ),
        query=_options("-l --list -v --validate -K --remove-timestamp"),
        assigns=True,
    ),
    "doas": Wrapper(values=_options("-u -C"), query=_options("-L")),
    "pkexec": Wrapper(values=_options("--user")),
    "run0": Wrapper(values=_options("-u --user -g --group -D --chdir --unit --property")),
    "gosu": Wrapper(skips=1),
    "su-exec": Wrapper(skips=1),
    "env": Wrapper(values=_options("-u --unset -C --chdir"), script=_options("-S --split-string"), assigns=True),
    "nohup": Wrapper(),
    "nice": Wrapper(values=_options("-n --adjustment")),
    "ionice": Wrapper(values=_options("-c --class -n --classdata -p --pid")),
    "chrt": Wrapper(skips=1),
    "taskset": Wrapper(skips=1),
    "time": Wrapper(values=_options("-f --format -o --output")),
    "timeout": Wrapper(values=_options("-k --kill-after -s --signal"), skips=1),
    "gtimeout": Wrapper(values=_options("-k --kill-after -s --signal"), skips=1),
    "xargs": Wrapper(
        values=_options(
            "-I -i -n --max-args -P --max-procs -L --max-lines -s --max-chars -d --delimiter -E -a --arg-file -R -S"
        ),
        stdin_words=True,
    ),
    "parallel": Wrapper(
        values=_options("-j --jobs -I --replace -a --arg-file -S --sshlogin -n --max-args -L -d --delimiter --joblog"),
        stdin_words=True,
    ),
    "command": Wrapper(query=_options("-v -V")),
    "exec": Wrapper(values=_options("-a")),
    "builtin": Wrapper(),
    "coproc": Wrapper(),
    "noglob": Wrapper(),
    "nocorrect": Wrapper(),
    "then": Wrapper(),
    "stdbuf": Wrapper(values=_options("-i --input -o --output -e --error")),
    "unbuffer": Wrapper(),
    "setsid": Wrapper(),
    "setarch": Wrapper(skips=1),
    "watch": Wrapper(values=_options("-n --interval -q --equexit"), text=True),
    "busybox": Wrapper(query=_options("--list --help")),
    "toybox": Wrapper(),
    "ssh": Wrapper(
        values=_options("-B -b -c -D -E -e -F -I -i -J -L -l -m -O -o -p -Q -R -S -W -w"), skips=1, text=True
    ),
    "sshpass": Wrapper(values=_options("-p -f -d -P")),
    "mosh": Wrapper(values=_options("-p --port --ssh --client --server"), skips=1),
    "su": Wrapper(
        values=_options("-s --shell -g --group -G --supp-group -w"), skips=99, script=_options("-c --command")
    ),
    "runuser": Wrapper(values=_options("-u --user -g --group -s --shell"), script=_options("-c --command")),
    "script": Wrapper(skips=99, script=_options("-c --command")),
    "flock": Wrapper(
        values=_options("-w --wait --timeout -E --conflict-exit-code"), skips=1, script=_options("-c --command")
    ),
    "chroot": Wrapper(values=_options("--userspec --groups"), skips=1),
    "nsenter": Wrapper(values=_options("-t --target -S -G")),
    "unshare": Wrapper(values=_options("-S --setuid -G --setgid -R --root -w --wd")),
    "proot": Wrapper(values=_options("-r -b -w -q")),
    "fakeroot": Wrapper(),
    "eatmydata": Wrapper(),
    "firejail": Wrapper(),
    "bwrap": Wrapper(values=_options("--chdir --uid --gid --hostname")),
    "strace": Wrapper(values=_options("-e -o -p -s -u -E -a -P -S -I -O")),
    "ltrace": Wrapper(values=_options("-e -o -p -s -u -n -a -l")),
    "gdb": Wrapper(skips=99),
    "perf": Wrapper(only=_options("stat record trace"), values=_options("-e -o -p -F -g -r")),
    "proxychains": Wrapper(values=_options("-f")),
    "proxychains4": Wrapper(values=_options("-f")),
    "torsocks": Wrapper(),
    "caffeinate": Wrapper(values=_options("-t -w")),
    "arch": Wrapper(),
    "xvfb-run": Wrapper(values=_options("-n -s -w -e -f -p")),
    "dbus-run-session": Wrapper(),
    "systemd-run": Wrapper(values=_options("-p --property --unit -u --uid --gid -E --setenv -H -M --on-active")),
    "chpst": Wrapper(values=_options("-u -U -b -e -n")),
    "entr": Wrapper(),
    "dotenv": Wrapper(values=_options("-f -e"), only=_options("run")),
    "direnv": Wrapper(only=_options("exec"), skips=1),
    "npx": Wrapper(values=_options("-p --package"), script=_options("-c --call")),
    "bunx": Wrapper(),
    "pnpx": Wrapper(),
    "uvx": Wrapper(values=_options("--from --with --python -p")),
    "uv": Wrapper(only=_options("run"), values=_options("--with --python -p --directory --project --extra --group")),
    "poetry": Wrapper(only=_options("run"), values=_options("-C --directory")),
    "pipenv": Wrapper(only=_options("run")),
    "pdm": Wrapper(only=_options("run"), values=_options("-p --project")),
    "rye": Wrapper(only=_options("run")),
    "hatch": Wrapper(only=_options("run")),
    "conda": Wrapper(only=_options("run"), values=_options("-n --name -p --prefix --cwd")),
    "bundle": Wrapper(only=_options("exec")),
    "npm": Wrapper(
        only=_options("exec x"), values=_options("-w --workspace -p --package"), script=_options("-c --call")
    ),
    "pnpm": Wrapper(only=_options("exec dlx"), values=_options("-C --dir -F --filter")),
    "docker": Wrapper(only=_options("exec run"), values=_CONTAINER_VALUES, skips=1),
    "podman": Wrapper(only=_options("exec run"), values=_CONTAINER_VALUES, skips=1),
    "nerdctl": Wrapper(only=_options("exec run"), values=_CONTAINER_VALUES, skips=1),
    "docker-compose": Wrapper(only=_options("exec run"), values=_CONTAINER_VALUES, skips=1),
    "kubectl": Wrapper(only=_options("exec"), values=_KUBE_VALUES, skips=1),
    "oc": Wrapper(only=_options("exec rsh"), values=_KUBE_VALUES, skips=1),
    "wsl": Wrapper(
        values=_options("-d --distribution -u --user --cd"), query=_options("-l --list --shutdown --unregister")
    ),
    "tmux": Wrapper(
        only=_options("new new-session neww new-window split-window run run-shell"),
        values=_options("-s -n -c -t -x -y -e -F"),
        text=True,
    ),
    "screen": Wrapper(values=_options("-S -c -e -h -p -s -T -t")),
}

# Programs that run the words after these options, up to `;` or `+` where they have such an end.
EXECUTING_OPTIONS: Mapping[str, frozenset[str]] = {
    "find": _options("-exec -execdir -ok -okdir"),
    "gfind": _options("-exec -execdir -ok -okdir"),
    "fd": _options("-x --exec -X --exec-batch"),
    "fdfind": _options("-x --exec -X --exec-batch"),
}

# PowerShell's own aliases (Get-Alias, PowerShell 5.1 and 7 on Windows).
CMDLET_ALIASES: Mapping[str, str] = {
    alias: cmdlet
    for cmdlet, aliases in {
        "remove-item": "rm ri del erase rd rmdir",
        "get-childitem": "ls dir gci",
        "get-content": "cat type gc",
        "set-content": "",
        "add-content": "ac",
        "clear-content": "clc",
        "copy-item": "cp copy cpi",
        "move-item": "mv move mi",
        "rename-item": "ren rni",
        "new-item": "ni",
        "set-item": "si",
        "get-item": "gi",
        "clear-item": "cli",
        "set-itemproperty": "sp",
        "remove-itemproperty": "rp",
        "invoke-expression": "iex",
        "invoke-command": "icm",
        "invoke-webrequest": "iwr wget curl",
        "invoke-restmethod": "irm",
        "invoke-item": "ii",
        "invoke-history": "ihy r",
        "start-process": "saps start",
        "stop-process": "spps kill",
        "get-process": "gps ps",
        "stop-service": "spsv",
        "start-service": "sasv",
        "get-service": "gsv",
        "set-location": "cd chdir sl",
        "push-location": "pushd",
        "pop-location": "popd",
        "get-location": "pwd gl",
        "write-output": "echo write",
        "foreach-object": "% foreach",
        "where-object": "? where",
        "select-object": "select",
        "sort-object": "sort",
        "measure-object": "measure",
        "tee-object": "tee",
        "select-string": "sls",
        "compare-object": "diff compare",
        "start-job": "sajb",
        "clear-history": "clhy",
        "get-history": "h history ghy",
        "set-variable": "sv set",
        "get-variable": "gv",
        "remove-variable": "rv",
        "clear-variable": "clv",
        "set-alias": "sal",
        "new-alias": "nal",
        "import-module": "ipmo",
        "out-host": "oh",
        "clear-host": "cls clear",
        "get-help": "help man",
        "get-command": "gcm",
        "start-sleep": "sleep",
    }.items()
    for alias in aliases.split()
}
# Parameters that may be shortened to any prefix that is unique among them.
CMDLET_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "remove-item": (
        "confirm", "credential", "exclude", "filter", "force", "include", "literalpath", "path", "recurse", "stream",
        "whatif",
    ),
    "get-childitem": ("attributes", "depth", "directory", "exclude", "file", "filter", "force", "hidden", "include",
                      "literalpath", "name", "path", "recurse"),
    "stop-process": ("confirm", "force", "id", "inputobject", "name", "passthru", "whatif"),
    "stop-computer": ("asjob", "computername", "confirm", "credential", "force", "whatif"),
    "restart-computer": ("computername", "confirm", "credential", "force", "wait", "whatif"),
    "format-volume": ("confirm", "driveletter", "filesystem", "force", "full", "whatif"),
    "clear-disk": ("confirm", "number", "removedata", "removeoem", "whatif"),
    "copy-item": ("destination", "force", "path", "recurse"),
    "move-item": ("destination", "force", "path"),
    "set-executionpolicy": ("confirm", "executionpolicy", "force", "scope", "whatif"),
}  # fmt: skip
# cmd.exe's own words for the programs that run another command.
CMD_WRAPPERS = _options("call start")

"""Carries out the last stage of the Dockerfile in a root made by debootstrap, then runs compose.yaml's services from it
as a container engine would: as their user, on a read-only root, with their variables, secrets and volumes, in a network
of their own. scripts/replay-image starts it as root, inside new mount and process namespaces.

usage: replay.py PROGRAM FOLDER     PROGRAM is the executable, linked with --static-swift-stdlib; FOLDER is scratch
"""
import ctypes
import json
import os
import pathlib
import re
import secrets
import shlex
import signal
import subprocess
import sys
import time

import yaml

program, scratch = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
docker = pathlib.Path(__file__).resolve().parent
began = time.monotonic()
SYSTEM = ("dev", "proc", "sys")
CLONE_NEWNET = 0x40000000


def say(text):
    print(f"replay: {time.monotonic() - began:5.1f} s  {text}", flush=True)


def run(*command, **options):
    """A command that has to succeed; its output only where it did not."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options)
    if done.returncode != 0:
        sys.exit(f"replay: {shlex.join(map(str, command))} ended with {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def megabytes(path):
    return int(run("du", "-sxm", path).split()[0])


class Image:
    """The last stage of a Dockerfile: its steps done, its settings known."""

    def __init__(self, dockerfile, root):
        self.root, self.environment, self.user, self.folder = root, {}, "0:0", "/"
        self.volumes, self.entrypoint, self.command, self.health = [], [], [], []
        arguments = {}
        text = re.sub(r"\\\n(\s*#.*\n)*", " ", dockerfile.read_text())
        steps = [line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#")]
        last = max(index for index, (word, _) in enumerate(steps) if word == "FROM")
        for word, rest in steps[:last]:
            if word == "FROM":
                break
            name, _, value = rest.partition("=")
            arguments[name] = value
        for word, rest in steps[last:]:
            getattr(self, "step_" + word.lower())(rest.strip(), arguments)

    def step_from(self, rest, arguments):
        base = rest.split()[0]
        base = arguments[base[2:-1]] if base.startswith("${") else base
        release = re.fullmatch(r"debian:(\w+)-slim", base)
        if not release:
            sys.exit(f"replay: {base} is no Debian image; there is nothing to replay it with")
        # This machine's own way to the packages, repairs included.
        targets = run("apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages")
        sites = {name: site for site, name in (line.split() for line in targets.splitlines())}
        if release[1] not in sites:
            sys.exit(f"replay: this machine has no packages of {release[1]}")
        run("debootstrap", "--variant=minbase", release[1], self.root, sites[release[1]])
        (self.root / "etc/apt/sources.list").write_text(
            "".join(f"deb {site} {name} main\n" for name, site in sites.items() if name.startswith(release[1])))
        for name in SYSTEM:
            run("mount", "--rbind", f"/{name}", self.root / name)
        say(f"{base} stands, {megabytes(self.root)} MB")

    def step_arg(self, rest, arguments):
        name, _, value = rest.partition("=")
        arguments[name] = os.environ.get(name, value.strip('"'))

    def step_run(self, rest, arguments):
        environment = {"PATH": os.environ["PATH"], "HOME": "/root"} | arguments | self.environment
        run("chroot", self.root, "/bin/sh", "-c", rest, env=environment)
        say(f"RUN {rest.split('&&')[0].strip()} ..., {megabytes(self.root)} MB")

    def step_copy(self, rest, arguments):
        origin, source, target = rest.split()
        if not origin.startswith("--from="):
            sys.exit(f"replay: COPY {rest} is not replayed here")
        run("install", "--strip", "--mode=755", program, self.root / target[1:])
        say(f"COPY {source}, {(self.root / target[1:]).stat().st_size / 1e6:.1f} MB")

    def step_env(self, rest, arguments):
        self.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))

    def step_user(self, rest, arguments):
        self.user = rest

    def step_workdir(self, rest, arguments):
        self.folder = rest

    def step_volume(self, rest, arguments):
        self.volumes.append(rest)

    def step_expose(self, rest, arguments):
        pass

    def step_healthcheck(self, rest, arguments):
        self.health = json.loads(rest[rest.index("CMD") + 3:])

    def step_entrypoint(self, rest, arguments):
        self.entrypoint = json.loads(rest)

    def step_cmd(self, rest, arguments):
        self.command = json.loads(rest)


class Service:
    """A container of compose.yaml."""

    def __init__(self, image, name, settings, number, secret_files):
        self.image, self.name, self.settings = image, f"{name}-{number}", settings
        self.log = scratch / f"{self.name}.log"
        folder = scratch / "containers" / self.name
        self.root = folder / "root"
        volume = folder / "volume"
        self.root.mkdir(parents=True)
        run("mount", "--bind", image.root, self.root)
        if settings.get("read_only"):
            run("mount", "-o", "remount,bind,ro", self.root)
        for system in SYSTEM:
            run("mount", "--rbind", f"/{system}", self.root / system)
        for mount in settings.get("tmpfs", []):
            path, _, options = mount.partition(":")
            run("mount", "-t", "tmpfs", "-o", options, "tmpfs", self.root / path[1:])
        run("mount", "-t", "tmpfs", "tmpfs", self.root / "run")
        # A volume begins as what the image has there, its owner included.
        for path in image.volumes:
            run("cp", "--archive", image.root / path[1:], volume)
            run("mount", "--bind", volume, self.root / path[1:])
        (self.root / "run/secrets").mkdir()
        for secret in settings.get("secrets", []):
            target = self.root / "run/secrets" / secret
            target.touch()
            run("mount", "--bind", "-o", "ro", secret_files[secret], target)
        self.environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"} | image.environment
        for key, value in settings.get("environment", {}).items():
            self.environment[key] = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        self.process = None

    def inside(self, command):
        """A command as it runs in the container: its user, no capability and no way to one."""
        user, _, group = self.image.user.partition(":")
        return ["chroot", self.root, "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
                "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--",
                "env", "--chdir=" + self.image.folder, *command]

    def start(self):
        command = self.image.entrypoint + self.settings.get("command", self.image.command)
        self.process = subprocess.Popen(
            self.inside(command), env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log.open("w"),
            stderr=subprocess.STDOUT)

    def execute(self, *command):
        return subprocess.run(
            self.inside(command), env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def wait_healthy(self, seconds):
        deadline = time.monotonic() + seconds
        while self.execute(*self.image.health).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.fail("does not become healthy")
            time.sleep(0.2)

    def resident(self):
        """Megabytes of memory, of which shared libraries are a part."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s+(\d+)", status, re.M)[1]) // 1024

    def stop(self):
        """Ends it as an engine does, and says how long that took."""
        grace = int(self.settings.get("stop_grace_period", "10s").removesuffix("s"))
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.fail(f"does not end within {grace} s")
        if status != 0:
            self.fail(f"ended with {status}")
        return time.monotonic() - start

    def fail(self, what):
        sys.exit(f"replay: {self.name} {what}\n{self.log.read_text()[-4000:]}")


def start_postgres(settings, secret_files):
    """The machine's own PostgreSQL in the place of the postgres image, told the same things."""
    programs = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
    folder = scratch / "postgres"
    run("install", "--directory", "--owner=postgres", "--mode=0700", folder)
    password = scratch / "password"
    run("install", "--owner=postgres", "--mode=0400", secret_files["postgres_password"], password)
    variables = settings["environment"]
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]
    run(*as_postgres, programs / "initdb", f"--username={variables['POSTGRES_USER']}", f"--pwfile={password}",
        *variables["POSTGRES_INITDB_ARGS"].split(), "-D", folder / "data")
    process = subprocess.Popen(
        [*as_postgres, programs / "postgres", "-D", folder / "data", "-c", f"unix_socket_directories={folder}",
         "-c", "listen_addresses=127.0.0.1"], stdout=(scratch / "postgres.log").open("w"), stderr=subprocess.STDOUT)
    environment = {"PGPASSWORD": secret_files["postgres_password"].read_text().strip(), "PATH": os.environ["PATH"]}
    for _ in range(100):
        if subprocess.run([programs / "pg_isready", "-h", "127.0.0.1", "-q"]).returncode == 0:
            break
        time.sleep(0.1)
    run(programs / "createdb", "-h", "127.0.0.1", "-U", variables["POSTGRES_USER"], variables["POSTGRES_DB"],
        env=environment)
    return process


def must(holds, what):
    if not holds:
        sys.exit(f"replay: {what}")


def main():
    image = Image(docker / "Dockerfile", scratch / "image")
    packages = len(run("chroot", image.root, "dpkg-query", "-W").splitlines())
    loaded = run("chroot", image.root, "ldd", "/usr/local/bin/trainyard")
    must("not found" not in loaded, f"libraries are missing in the image:\n{loaded}")
    must("libswift" not in loaded, f"Swift's libraries are not in the program:\n{loaded}")
    say(f"the image is there: {megabytes(image.root)} MB, {packages} packages")

    # From here on the world is away; names are those of the network of compose.yaml.
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        sys.exit(f"replay: no network of its own: {os.strerror(ctypes.get_errno())}")
    run("ip", "link", "set", "lo", "up")
    compose = yaml.safe_load((docker / "compose.yaml").read_text())
    (image.root / "etc/hosts").write_text("127.0.0.1 localhost " + " ".join(compose["services"]) + "\n")
    secret_files = {}
    for name in compose["secrets"]:
        secret_files[name] = scratch / name
        secret_files[name].write_text(secrets.token_hex(32) + "\n")
        secret_files[name].chmod(0o644)

    def service(name, number=1):
        return Service(image, name, compose["services"][name], number, secret_files)

    postgres = start_postgres(compose["services"]["postgres"], secret_files)
    say("postgres runs, with a password")
    migrate = service("migrate")
    migrate.start()
    if migrate.process.wait(60) != 0:
        migrate.fail("failed")
    say(f"migrate has applied {len(migrate.log.read_text().splitlines()) - 1} migrations")
    server = service("server")
    server.start()
    server.wait_healthy(30)
    say("server is healthy")
    workers = [service("worker", number) for number in (1, 2)]
    for worker in workers:
        worker.start()

    for one in [server, *workers]:
        status = pathlib.Path(f"/proc/{one.process.pid}/status").read_text()
        must(re.search(r"^Uid:\s+10001\s+10001", status, re.M), f"{one.name} runs as another user:\n{status}")
        must(re.search(r"^CapEff:\s+0+$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M),
             f"{one.name} has capabilities or may gain some:\n{status}")
        must(one.execute("touch", "/usr/local/bin/x", "/etc/x").returncode != 0, f"{one.name} can write to its root")
        must(secret_files["postgres_password"].read_text().strip()
             not in pathlib.Path(f"/proc/{one.process.pid}/cmdline").read_text(), "the password is in the arguments")
    say("they run as 10001, without capabilities, on a read-only root")

    say(f"memory at rest: server {server.resident()} MB, worker {workers[0].resident()} MB")

    rows = "".join(f"{row % 3 * 2 + row % 7 / 10},{3 - row % 3},{['iris', 'rose', 'tulip'][row % 3]}\\n"
                   for row in range(300))
    server.execute("sh", "-c", f"printf 'length,width,kind\\n{rows}' > /tmp/flowers.csv")
    added = server.execute("trainyard", "dataset", "add", "/tmp/flowers.csv", "--json")
    must(added.returncode == 0, f"dataset add: {added.stdout}")
    dataset = json.loads(added.stdout.splitlines()[-1])["id"]
    begun = time.monotonic()
    trained = server.execute(
        "trainyard", "job", "submit", "--dataset", dataset, "--hidden", "32", "--steps", "500", "--batch-size", "32",
        "--follow", "--json")
    must(trained.returncode == 0, f"job submit: {trained.stdout}")
    job = json.loads(server.execute("trainyard", "job", "list", "--json").stdout)["items"][0]
    must(job["state"] == "succeeded" and job["step"] == 500, f"the job is {job}")
    say(f"a job of 500 steps has succeeded in {time.monotonic() - begun:.1f} s, loss {job['loss']:.3f}")
    say(f"memory after it: server {server.resident()} MB, workers {[worker.resident() for worker in workers]} MB")

    # A worker that is stopped in the middle gives its job to the other, at once.
    submitted = server.execute(
        "trainyard", "job", "submit", "--dataset", dataset, "--hidden", "256,256", "--steps", "20000",
        "--json")
    job = json.loads(submitted.stdout.splitlines()[-1])["id"]

    def look():
        return json.loads(server.execute("trainyard", "job", "get", job, "--json").stdout)

    deadline = time.monotonic() + 60
    while look()["state"] != "running" or look()["step"] == 0:
        must(time.monotonic() < deadline, f"the job does not start: {look()}")
        time.sleep(0.2)
    first = workers[0].stop()
    deadline = time.monotonic() + 300
    while look()["state"] not in ("succeeded", "failed"):
        must(time.monotonic() < deadline, f"the job does not end: {look()}")
        time.sleep(0.5)
    must(look()["state"] == "succeeded", f"the job is {look()}")
    say(f"one worker stopped in {first:.1f} s, and a job of 20000 steps succeeded all the same")
    must(server.execute("cat", "admin.key").stdout.startswith("ty_"), "no admin key in the volume")

    times = {one.name: f"{one.stop():.1f} s" for one in [server, workers[1]]}
    postgres.send_signal(signal.SIGINT)
    must(postgres.wait(60) == 0, "postgres did not end in order")
    say(f"everything ended in order: {times}")


main()

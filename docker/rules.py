"""What compose.yaml and kubernetes.yaml must not lose when they are changed; scripts/check-deployment runs it."""
import pathlib
import sys

import yaml

folder = pathlib.Path(__file__).parent
faults = []


def must(holds, what):
    if not holds:
        faults.append(what)


def seconds(text):
    return int(text.removesuffix("s"))


# Passwords are read from files, here and there.
compose = yaml.safe_load((folder / "compose.yaml").read_text())
for name, service in compose["services"].items():
    here = f"compose.yaml, {name}"
    for key, value in service.get("environment", {}).items():
        must("PASSWORD" not in key or key.endswith("_FILE"), f"{here}: {key} is a password in the environment")
        must("@" not in value or ":" not in value.split("//")[-1].split("@")[0], f"{here}: {key} holds a password")
    must(service.get("read_only") is True, f"{here}: its root can be written to")
    must("no-new-privileges:true" in service.get("security_opt", []), f"{here}: it can gain privileges")
    for port in service.get("ports", []):
        must(str(port).startswith("127.0.0.1:"), f"{here}: {port} is open to the network")
    must(service.get("container_name") is None, f"{here}: a container's name keeps it from being scaled")
    must("memory" in service["deploy"]["resources"]["limits"], f"{here}: no limit of memory")
    must("inside" in service["networks"], f"{here}: not on the network of the others")
    if "trainyard" in service["image"].split(":-")[0].lower():
        must(service.get("cap_drop") == ["ALL"], f"{here}: it keeps capabilities")
must(compose["networks"]["inside"].get("internal") is True, "compose.yaml: the network inside leads outside")
must(compose["services"]["worker"]["networks"] == ["inside"], "compose.yaml: workers reach the network outside")
must(set(compose["secrets"]) == {"postgres_password"}, "compose.yaml: other secrets than those described")
# A checkpoint is written every ten seconds and takes a few; the server drains for ten.
must(seconds(compose["services"]["worker"]["stop_grace_period"]) >= 30, "compose.yaml: workers are killed too early")
must(seconds(compose["services"]["server"]["stop_grace_period"]) >= 20, "compose.yaml: the server is killed too early")
must(compose["services"]["migrate"]["restart"] == "on-failure", "compose.yaml: migrate would run for ever")

for document in yaml.safe_load_all((folder / "kubernetes.yaml").read_text()):
    here = f"kubernetes.yaml, {document['kind']} {document['metadata']['name']}"
    must(document["kind"] != "Secret", f"{here}: values of a secret in a file")
    pod = document.get("spec", {}).get("template", {}).get("spec")
    if pod is None:
        continue
    must(pod["securityContext"].get("runAsNonRoot") is True, f"{here}: may run as root")
    must(pod.get("automountServiceAccountToken") is False, f"{here}: gets a token of the cluster")
    for container in pod["containers"]:
        security = container["securityContext"]
        must(security.get("readOnlyRootFilesystem") is True, f"{here}: its root can be written to")
        must(security.get("allowPrivilegeEscalation") is False, f"{here}: it can gain privileges")
        must(security.get("capabilities") == {"drop": ["ALL"]}, f"{here}: it keeps capabilities")
        must("memory" in container["resources"]["limits"], f"{here}: no limit of memory")
        for variable in container.get("env", []):
            must("PASSWORD" not in variable["name"] or variable["name"].endswith("_FILE"),
                 f"{here}: {variable['name']} is a password in the environment")

print("\n".join(faults))
sys.exit(1 if faults else 0)

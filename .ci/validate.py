"""Validates Kubernetes objects, read from stdin as YAML, against strict schemas.

Kubernetes' own objects are validated against each version named on the command line, those of
monitoring.coreos.com against the CRDs in target/tools. Prints how many objects there were.
"""

import pathlib
import sys

import jsonschema
import kubernetes_validate
import yaml

CRDS = pathlib.Path(__file__).parent.parent / "target/tools/prometheus-crds"


def strict(schema):
    """Returns the schema, changed to refuse unknown properties wherever it lists the known ones."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: strict(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def custom_schema(item):
    """Returns the schema of a custom resource. It leaves `metadata` to Kubernetes."""
    version = item["apiVersion"].split("/")[1]
    plural = item["kind"].lower() + "s"
    crd = yaml.safe_load((CRDS / f"monitoring.coreos.com_{plural}.yaml").read_text())
    [schema] = [v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"] if v["name"] == version]
    return strict(schema) | {"required": ["spec"]}


def validate(item, version):
    if item["apiVersion"].startswith("monitoring.coreos.com/"):
        schema = custom_schema(item)
        schema["properties"]["metadata"] = {"type": "object"}
        jsonschema.Draft7Validator(schema).validate(item)
    else:
        kubernetes_validate.validate(item, version, strict=True)


items = [item for item in yaml.safe_load_all(sys.stdin) if item]
for item in items:
    for version in sys.argv[1:]:
        try:
            validate(item, version)
        except (jsonschema.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            place = "/".join(str(step) for step in getattr(error, "absolute_path", []))
            sys.exit(f"{item['kind']} {item['metadata']['name']}, Kubernetes {version}: {place}: {error.message}")
print(f"{len(items)} objects")

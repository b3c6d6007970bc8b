"""Write kubernetes.json anew: `python renew.py`, with the package `kubernetes` (its version is that
of the API) installed beside metatune.

kubernetes.json holds JSON schemas of what the files in cluster/kuberay/ are made of, as strict as
an API server: a field it does not know is an error. They are the package's own, less their texts.

kuberay.json holds the kinds of ray.io/v1 in the same way. It is written by hand, from KubeRay's API
reference of the version it names (docs/reference/api.md in its repository): a newer one may know
more fields, and a field may be used in cluster/kuberay/ once it stands here.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

KINDS = ("V1PodTemplateSpec", "V1Service", "V1NetworkPolicy", "V1Secret")


def stripped(schema: Any) -> Any:
    """`schema` without texts, defaults, and `null` beside another type."""
    if isinstance(schema, list):
        return [stripped(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "anyOf" in schema:
        kinds = [stripped(kind) for kind in schema["anyOf"] if kind != {"type": "null"}]
        return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {
        key: {name: stripped(field) for name, field in value.items()}
        if key == "properties"
        else stripped(value)
        for key, value in schema.items()
        if key not in ("description", "title", "default")
    }


def main() -> None:
    """Write the file, one definition a line."""
    package = importlib.import_module("kubernetes")
    models = [(getattr(package.client, kind), "validation") for kind in KINDS]
    join = importlib.import_module("pydantic.json_schema").models_json_schema
    definitions = join(models, by_alias=True)[1]["$defs"]
    lines = ",\n".join(
        f"    {json.dumps(name)}: {json.dumps(stripped(schema))}"
        for name, schema in sorted(definitions.items())
    )
    source = f"the Python package kubernetes {package.__version__} (Apache-2.0)"
    Path(__file__).with_name("kubernetes.json").write_text(
        f'{{\n  "$comment": "Made by renew.py from {source}.",\n  "$defs": {{\n{lines}\n  }}\n}}\n'
    )


if __name__ == "__main__":
    main()

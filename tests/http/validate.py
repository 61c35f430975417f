"""Holds answers of a real coordinator against docs/openapi.yaml.

    validate.py openapi.yaml calls.json     calls: {"routes": ["GET /path"], "calls": [{method, pattern, status, type, body}]}

Prints what is wrong, a line each; the exit code says whether anything is.
"""
import json
import sys

import jsonschema
import yaml


def operations(document):
    for path, item in document["paths"].items():
        for method in ("get", "head", "put", "post", "delete"):
            if method in item:
                yield f"{method.upper()} {path}", item[method]


def resolve(document, node):
    while "$ref" in node:
        target = document
        for part in node["$ref"][2:].split("/"):
            target = target[part]
        node = target
    return node


def check_call(document, validator_of, operation, call):
    name = f"{call['method']} {call['pattern']}"
    responses = operation["responses"]
    response = resolve(document, responses.get(str(call["status"]), responses.get("default", {})))
    if not response:
        return [f"{name}: {call['status']} is not in the document: {call['body'][:200]}"]
    content = response.get("content")
    if not content or call["method"] == "HEAD":
        return []
    media = call["type"].split(";")[0].strip()
    described = content.get(media, content.get("*/*"))
    if described is None:
        return [f"{name}: {call['status']} came as {media}, the document has {', '.join(content)}"]
    if not media.endswith("json"):
        return []
    errors = validator_of(described["schema"]).iter_errors(json.loads(call["body"]))
    return [f"{name}: {call['status']}: {'/'.join(map(str, error.absolute_path))}: {error.message[:200]}" for error in errors]


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = yaml.safe_load(file)
    with open(sys.argv[2], encoding="utf-8") as file:
        given = json.load(file)
    known = dict(operations(document))
    wrong = [f"{route} is served, and is not in the document" for route in given["routes"] if route not in known]
    wrong += [f"{route} is in the document, and is not served" for route in known if route not in given["routes"]]

    def validator_of(schema):
        return jsonschema.Draft202012Validator({**schema, "components": document["components"]})

    called = set()
    for call in given["calls"]:
        name = f"{call['method']} {call['pattern']}"
        if name not in known:
            wrong.append(f"{name} was called, and is not in the document")
            continue
        if call["status"] < 400:
            called.add(name)
        wrong += check_call(document, validator_of, known[name], call)
    wrong += [f"{name} was never called with success" for name in known if name not in called]
    print("\n".join(wrong))
    print(f"{len(given['calls'])} answers of {len(called)} operations were checked", file=sys.stderr)
    sys.exit(1 if wrong else 0)


main()

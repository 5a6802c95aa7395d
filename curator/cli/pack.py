"""The command that makes shards of a folder of images. Wiring only."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from curator.cli.app import AsJson, ConfigPath, Overrides, app, console, say, storage_from


@app.command()
def pack(
    folder: Annotated[str, typer.Argument(help="A folder or s3:// prefix of images, whatever the depth")],
    output: Annotated[str, typer.Option("--output", "-o", help="Directory or s3:// prefix of the shards")],
    samples: Annotated[int, typer.Option(min=1, help="Images of a shard at most")] = 1000,
    megabytes: Annotated[int, typer.Option(min=1, help="MiB of a shard at most")] = 256,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove shards that earlier calls wrote and that are no longer needed")
    ] = False,
    config: ConfigPath = None,
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Make shards of a folder of images, with captions (a.txt) and metadata (a.json) that lie beside them (a.jpg).

    The key of a sample is its path without the extension, dots in the name being underscores; where an image brings no
    metadata, its json says the path and the folder. Run the same command again: only what has changed is written. Where
    fewer shards are needed than before, it names those that are too many, and --prune removes them: never what another
    program wrote.
    """
    from curator.console import size_text
    from curator.shards.pack import pack as start

    storage = storage_from(config, overrides)
    done = start(folder, output, storage, max_samples=samples, max_bytes=megabytes << 20, prune=prune)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    console.print(
        f"images: {done.samples} ({size_text(done.bytes)}, {done.captions} with a caption) in shards: {done.shards}, "
        f"of which written now: {done.written}",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    if done.pruned:
        console.print(f"shards of earlier calls removed, being no longer needed: {done.pruned}", highlight=False)
    for extension, count in sorted(done.skipped.items()):
        what = f"*.{extension}" if extension else "files without an extension"
        say(f"left out: {count} {what}, which are no images that Curator reads and belong to none")
    if done.hidden:
        say(f"left out: {done.hidden} hidden, being in a folder or of a name that begins with . or _")
    if done.dangling:
        say(f"left out: {done.dangling} dangling, being a link that leads to nothing")
    console.print(f"next: curator label --input {output} --output OUT --vocabulary LABELS.txt", soft_wrap=True)

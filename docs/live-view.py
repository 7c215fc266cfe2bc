#!/usr/bin/env python3
"""Makes docs/live-view.svg: a picture of the live view, taken from the real program in a real
terminal (tmux). Run it from the root of the checkout after `cargo build --release`:

    docs/live-view.py > docs/live-view.svg
"""

import html
import re
import subprocess
import tempfile
import time

COLUMNS, LINES = 96, 14
# Three seconds in, so that the figures have settled.
PIPELINE = "cat access.log | gzip -9 | sha256sum"
COLOURS = {"30": "#1b1f24", "31": "#e5534b", "32": "#57ab5a", "33": "#d9a441"}
FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
CELL, ROW, PAD = 8.43, 19, 16


def screen():
    """The terminal's content with its escape sequences, a line each."""
    socket = ["tmux", "-L", "pipewright-picture"]
    with tempfile.TemporaryDirectory() as directory:
        with open(f"{directory}/access.log", "w") as log:
            for n in range(4_000_000):
                log.write(f'10.0.{n % 251}.{n % 17} "GET /page/{n * 7919 % 100003}" 200 {n % 977}\n')
        program = subprocess.run(
            ["realpath", "target/release/pipewright"], capture_output=True, text=True, check=True
        ).stdout.strip()
        subprocess.run([*socket, "new-session", "-d", "-x", str(COLUMNS), "-y", str(LINES),
                        "-c", directory, "env", "PS1=$ ", "bash", "--norc"], check=True)
        try:
            command = f"clear; {program} run '{PIPELINE}' > sum"
            subprocess.run([*socket, "send-keys", command, "Enter"], check=True)
            time.sleep(5)
            captured = subprocess.run([*socket, "capture-pane", "-p", "-e"],
                                      capture_output=True, text=True, check=True).stdout
        finally:
            subprocess.run([*socket, "kill-server"], check=False)
    # What was typed, in place of where it was typed.
    return [f"$ pipewright run '{PIPELINE}' > sum"] + [row for row in captured.split("\n") if row.strip()]


def spans(row):
    """The pieces of a row: text, colour, bold, faint."""
    colour, bold, faint = None, False, False
    for piece in re.split(r"(\x1b\[[0-9;]*m)", row):
        if piece.startswith("\x1b["):
            for code in piece[2:-1].split(";"):
                if code in ("0", ""):
                    colour, bold, faint = None, False, False
                elif code == "1":
                    bold = True
                elif code == "2":
                    faint = True
                elif code == "39":
                    colour = None
                elif code in COLOURS:
                    colour = COLOURS[code]
        elif piece:
            yield piece, colour, bold, faint


def main():
    rows = screen()
    width, height = COLUMNS * CELL + 2 * PAD, len(rows) * ROW + 2 * PAD
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
          f'width="{width:.0f}" font-family="{FONT}" font-size="14" role="img" '
          f'aria-label="The live view of a pipeline of three stages, with its bottleneck marked">')
    print(f'<rect width="100%" height="100%" rx="8" fill="#1b1f24"/>')
    for number, row in enumerate(rows):
        y = PAD + (number + 0.75) * ROW
        column = 0
        for text, colour, bold, faint in spans(row):
            style = f'fill="{colour or "#d8dee4"}"'
            style += ' font-weight="bold"' if bold else ""
            style += ' opacity="0.6"' if faint else ""
            stripped = text.lstrip(" ")
            x = PAD + (column + len(text) - len(stripped)) * CELL
            column += len(text)
            if stripped.strip():
                length = len(stripped.rstrip(" ")) * CELL
                print(f'<text x="{x:.1f}" y="{y:.1f}" textLength="{length:.1f}" xml:space="preserve" '
                      f'{style}>{html.escape(stripped.rstrip(" "))}</text>')
    print("</svg>")


main()

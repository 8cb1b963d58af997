"""The object store behind a run's folder.

Files are made and verified on a local disk, because decoding needs one. With `s3://bucket/runs`, or any
other address that fsspec knows, each is then copied there under the same relative name. Nothing here creates
a bucket.

A name never shows half a file. Object stores show an object once its PUT, or the completion of its multipart
upload, has arrived whole; elsewhere a file is copied under a temporary name and then moved. A copy counts
only when its checksum is the local file's: the MD5 that S3 (as ETag) and Google name, or, where a store names
none (S3 with KMS keys), the SHA-256 of what is read back. What is there already with that MD5 is not sent
again, so a copy that was broken off is repeated at no cost.
"""

from __future__ import annotations

import hashlib
import secrets
from base64 import b64decode, b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import Any

from callsheet.errors import UsageError, without_login
from callsheet.files import file_sha256, part_file
from callsheet.media.codes import MediaErrorCode, media_error
from callsheet.media.threads import in_threads
from manifests.readers.remote import chunks_of, open_store, reason_of

PART_BYTES = 8 << 20
"""Larger files go to S3 and Google in parts of this size, to S3 two at a time. S3 gets smaller ones than two
parts in one PUT."""

COPIES_AT_ONCE = 4
"""With the two above this bounds the memory for copies: 64 MiB."""

# In these stores folders exist by the names of their objects alone, and "making" one creates a bucket.
_WITHOUT_FOLDERS = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "oci", "r2"})
_S3 = frozenset({"s3", "s3a"})
_GOOGLE = frozenset({"gs", "gcs"})


@dataclass(frozen=True, slots=True)
class _Checksums:
    """What a store may say of a file: its bytes, its MD5, and the ETag that S3 gives it, also in parts."""

    size: int
    md5: bytes
    etag: str

    @classmethod
    def of(cls, path: Path) -> _Checksums:
        whole, parts = hashlib.md5(usedforsecurity=False), []
        with path.open("rb") as file:
            while piece := file.read(PART_BYTES):
                whole.update(piece)
                parts.append(hashlib.md5(piece, usedforsecurity=False).digest())
        size = path.stat().st_size
        joined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
        etag = whole.hexdigest() if size < 2 * PART_BYTES else f"{joined}-{len(parts)}"
        return cls(size, whole.digest(), etag)

    def are_those_of(self, info: Mapping[str, Any]) -> bool:
        """Whether a store names the same size and MD5; False also where it names no MD5."""
        if info.get("size") != self.size:
            return False
        if md5 := info.get("md5Hash"):  # Google
            return b64decode(md5) == self.md5
        return str(info.get("ETag", "")).strip('"') == self.etag


@dataclass(frozen=True, slots=True)
class ObjectStore:
    """A place that fsspec reaches. `root` is the address without its protocol and a trailing slash."""

    filesystem: Any
    protocol: str
    root: str

    def publish(self, local: Path, name: str) -> str:
        """Copy a file to `name` (relative to the root), compare the checksums, and return its full address.

        Blocks. Raises MediaError (not_stored) where other bytes arrived, OSError, or whatever the store's
        package raises; then nothing has the name that did not have it before.
        """
        target = f"{self.root}/{name}"
        checksums = _Checksums.of(local)
        if not self._has(target, checksums):
            if self.protocol in _WITHOUT_FOLDERS:
                self._send(local, target, checksums)
            else:
                self._send_and_move(local, target, checksums)
        return f"{self.protocol}://{target}"

    def fetch(self, name: str, local: Path) -> None:
        """Copy `name` (relative to the root) to a local file, whole or not at all.

        Blocks. Raises as the store's package does.
        """
        with part_file(local) as part:
            self.filesystem.get_file(f"{self.root}/{name}", str(part.path))
            part.path.replace(local)

    def names(self, folder: str = "media") -> frozenset[str]:
        """Return the names of all files below a folder, relative to the root. Blocks. Raises as above."""
        found = self.filesystem.find(f"{self.root}/{folder}", withdirs=False)
        start = len(f"{self.root}/".lstrip("/"))
        return frozenset(str(each).lstrip("/")[start:] for each in found)

    def link(self, name: str, seconds: int) -> str:
        """Return an https:// address of `name` that anybody who has it can read for some seconds.

        `name` is relative to the root and may lead to a folder beside it (`../r0/media/a.mp4`). Nothing is
        contacted. Raises UsageError where the store signs no addresses.
        """
        try:
            return str(self._signer().sign(normpath(f"{self.root}/{name}"), expiration=seconds))
        except NotImplementedError as error:
            raise UsageError(f"{self.protocol}:// signs no links; s3://, gs:// and abfs:// do") from error
        except Exception as error:  # each store's package has errors of its own
            raise UsageError(f"no link could be signed for {self.protocol}://: {reason_of(error)}") from error

    def _signer(self) -> Any:
        """Return the file system that signs; for S3 with Signature 4, which every bucket accepts."""
        if self.protocol not in _S3:
            return self.filesystem
        options = dict(self.filesystem.storage_options)
        options["config_kwargs"] = {**options.get("config_kwargs", {}), "signature_version": "s3v4"}
        return type(self.filesystem)(**options)

    def make_parent(self, target: str) -> None:
        """Make the folder of a name, where the store has folders."""
        if self.protocol not in _WITHOUT_FOLDERS:
            self.filesystem.makedirs(target.rpartition("/")[0], exist_ok=True)

    def _send(self, local: Path, target: str, checksums: _Checksums) -> None:
        options: dict[str, Any] = {}
        if self.protocol in _GOOGLE:
            options = {"chunksize": PART_BYTES}
        if self.protocol in _S3:
            options = {"chunksize": PART_BYTES, "max_concurrency": 2}
            if checksums.size < 2 * PART_BYTES:  # one PUT, which S3 refuses where these are not the bytes
                options["ContentMD5"] = b64encode(checksums.md5).decode()
        self.filesystem.put_file(str(local), target, **options)
        self._require(local, target, checksums)

    def _send_and_move(self, local: Path, target: str, checksums: _Checksums) -> None:
        self.make_parent(target)
        folder, _, name = target.rpartition("/")
        part = f"{folder}/.{name}.{secrets.token_hex(4)}.part"
        try:
            self._send(local, part, checksums)
            self.filesystem.mv(part, target)
        except BaseException:
            with suppress(Exception):  # it may not be there
                self.filesystem.rm_file(part)
            raise

    def _has(self, target: str, checksums: _Checksums) -> bool:
        try:
            return checksums.are_those_of(self._info(target))
        except FileNotFoundError:
            return False

    def _require(self, local: Path, target: str, checksums: _Checksums) -> None:
        info = self._info(target)
        if info["size"] != checksums.size:
            raise media_error(
                MediaErrorCode.NOT_STORED,
                f"{checksums.size:,} bytes were copied to {target}, but {info['size']:,} are there",
            )
        if not checksums.are_those_of(info) and self._sha256(target) != file_sha256(local):
            raise media_error(
                MediaErrorCode.NOT_STORED, f"other bytes than those that were copied are at {target}"
            )

    def _info(self, target: str) -> Mapping[str, Any]:
        self.filesystem.invalidate_cache(target.rpartition("/")[0])
        info: Mapping[str, Any] = self.filesystem.info(target)
        return info

    def _sha256(self, target: str) -> str:
        digest = hashlib.sha256()
        with self.filesystem.open(target, "rb") as file:
            for chunk in chunks_of(file):
                digest.update(chunk)
        return digest.hexdigest()


def open_storage(address: str) -> ObjectStore:
    """Return the object store that an address such as `s3://bucket/runs` names; nothing is contacted.

    Raises UsageError where the protocol is unknown or its package is missing.
    """
    filesystem, root = open_store(address)
    return ObjectStore(filesystem, address.partition("://")[0], root.rstrip("/"))


async def copy_to(store: ObjectStore, local: Path, name: str) -> None:
    """Publish a file from a thread: COPIES_AT_ONCE at a time. Raises what `ObjectStore.publish` raises."""
    await in_threads("copy", COPIES_AT_ONCE, store.publish, local, name)


def check_writable(address: str) -> None:
    """Check that results can be written to an object store, before anything is bought. Blocks.

    Writes an object of 40 bytes below the address and deletes it. Does not create a bucket. Raises
    UsageError where the bucket is missing, the credentials are refused, or the store cannot be reached.
    """
    store = open_storage(address)
    name = f"{store.root}/.callsheet-write-test-{secrets.token_hex(8)}"
    try:
        store.make_parent(name)
        store.filesystem.pipe_file(name, b"callsheet checks that it can write here\n")
        store.filesystem.rm_file(name)
    except Exception as error:  # each store's package has errors of its own
        is_missing = isinstance(error, FileNotFoundError) and store.protocol in _WITHOUT_FOLDERS
        why = "the bucket does not exist" if is_missing else reason_of(error)  # Google's package says a URL
        raise UsageError(
            f"results cannot be written to {without_login(address)}: {why}. Nothing was sent. Check the "
            "bucket's name, the credentials and the network; Callsheet does not create buckets."
        ) from error

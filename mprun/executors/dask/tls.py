"""Encrypted connections to a cluster, which are dask's own: names what is wrong with the files for them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

from mprun.executors.dask.refused import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

# What dask calls the files of our options.
_NAMES = {"tls_ca": "tls_ca_file", "tls_cert": "tls_client_cert", "tls_key": "tls_client_key"}


def security(options: Mapping[str, Any]) -> Any:
    """The `distributed.Security` to connect with; None if dask has its configuration alone.

    A file that is not given is that of the configuration. Raises Refused.
    """
    given = {name: options[name] for name in _NAMES if options[name]}
    is_tls = (options["scheduler"] or "").startswith("tls://")
    if not given and not is_tls:
        return None
    if not options["scheduler"] and not options["scheduler_file"]:
        raise Refused(
            f"`{_option(next(iter(given)))}` needs the scheduler of a cluster: add `--scheduler tls://HOST:PORT`"
        )
    from distributed.security import Security

    # Without types.
    make: Any = Security
    for name, path in given.items():
        _read(name, path)
    found: Any = make(**{_NAMES[name]: path for name, path in given.items()})
    used: dict[str, str | None] = found.get_tls_config_for_role("client")
    for name, key in (("tls_ca", "ca_file"), ("tls_cert", "cert")):
        if not used[key]:
            raise Refused(f"TLS needs `{_option(name)}`, or a file for it in dask's configuration")
    _load(used)
    return found


def _read(name: str, path: str) -> None:
    try:
        with open(path, "rb"):
            pass
    except OSError as error:
        raise Refused(f"cannot read {path} (`{_option(name)}`): {error.strerror}") from None


def _load(used: Mapping[str, str | None]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=used["ca_file"])
    except (OSError, ValueError) as error:
        raise Refused(
            f"{used['ca_file']} (`--tls-ca`) has no certificate as PEM: {_words(error)}; use the file that "
            "the scheduler has as `--tls-ca-file`"
        ) from None
    certificate, key = used["cert"], used["key"]
    try:
        # Without a password: no one is there to be asked.
        context.load_cert_chain(certificate or "", key, password="")
    except (OSError, ValueError) as error:
        files = f"{certificate} (`--tls-cert`)" + (f" and {key} (`--tls-key`)" if key else "")
        lacks = "are not a certificate and its private key" if key else "has no certificate and private key"
        raise Refused(
            f"{files} {lacks} as PEM, without a password: {_words(error)}; "
            + ("check both files" if key else "name the file of the key with `--tls-key`")
        ) from None


def hint(options: Mapping[str, Any]) -> str:
    """What may be wrong with the encryption if the scheduler cannot be reached, after the error."""
    has_files = any(options[name] for name in _NAMES)
    address = options["scheduler"] or ""
    if has_files and address and not address.startswith("tls://"):
        return "; with `--tls-ca` and `--tls-cert` the address begins with `tls://`"
    if address.startswith("tls://"):
        return "; check that `--tls-ca` and `--tls-cert` belong to this cluster"
    return ""


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _words(error: Exception) -> str:
    """An error of OpenSSL without where in its source that is."""
    reason = getattr(error, "reason", None)
    return (
        reason.lower().replace("_", " ")
        if reason
        else str(error).partition(" (_ssl")[0].removeprefix("[SSL] ")
    )

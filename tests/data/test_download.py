"""Downloads arrive whole or not at all, and one that fails says why; no server but this machine's is asked."""

import errno
import gzip
import hashlib
import os
import socket
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from torchvision import datasets

from gen_utils.data import CATALOG, DataError, load_images
from gen_utils.data import download as module
from gen_utils.data.download import download


@pytest.fixture
def served(monkeypatch):
    """What the pretended server sends: a function of the path to write to."""
    answer = {}

    def fetch(url, folder, filename, md5):
        answer["send"](os.path.join(folder, filename))

    monkeypatch.setattr(datasets.utils, "download_url", fetch)
    return answer


def write(data):
    def send(path):
        with open(path, "wb") as file:
            file.write(data)

    return send


def fail(path):
    write(b"half of it")(path)
    raise OSError("the line went dead")


def test_a_whole_file_arrives_where_its_reader_looks(tmp_path, served):
    served["send"] = write(b"the archive")
    assert download(CATALOG["cifar10"], tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]
    with pytest.raises(DataError, match=r"cifar-10-binary\.tar\.gz"):  # found, and it is no archive
        load_images("cifar10", root=tmp_path)


def test_a_broken_one_leaves_nothing(tmp_path, served):
    served["send"] = fail
    assert download(CATALOG["cifar10"], tmp_path / "new") == "the line went dead"
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine.txt").write_text("x")
    assert download(CATALOG["cifar10"], tmp_path) == "the line went dead"
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_a_killed_one_left_is_swept_away_after_a_day(tmp_path, served):
    served["send"] = write(b"the archive")
    for name, age in ((".download-old", 2 * 86400), (".download-now", 60)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    download(CATALOG["cifar10"], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".download-now", "cifar-10-binary.tar.gz"]


def test_what_cannot_be_downloaded_is_not_tried(tmp_path):
    assert download(CATALOG["bitmoji"], tmp_path / "new") is None
    assert list(tmp_path.iterdir()) == []


NAMES = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
IMAGES = b"\0\0\x08\x03" + b"\0\0\0\x04\0\0\0\x02\0\0\0\x02" + bytes(16)
LABELS = b"\0\0\x08\x01" + b"\0\0\0\x04" + bytes(range(4))
FILES = {f"{name}.gz": gzip.compress(IMAGES if "images" in name else LABELS) for name in NAMES}


class Server(BaseHTTPRequestHandler):
    """Serves MNIST's four files, small, in the way that its server's ``manner`` says."""

    def do_GET(self):
        manner, data = self.server.manner, FILES[self.path.strip("/")]
        if manner == "slow":
            time.sleep(0.5)
            return
        if manner == "no HTTP":
            self.wfile.write(b"who is there?\r\n\r\n")
        elif manner == 200:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            self.send_error(manner)

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server in the place of MNIST's; the tests set its ``manner``."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it remembers the proxies of its first use
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as here:
        here.manner, here.daemon_threads = 200, True
        threading.Thread(target=here.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        resources = [(name, hashlib.md5(data).hexdigest()) for name, data in FILES.items()]
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{here.server_port}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", resources)
        yield here
        here.shutdown()


def test_all_four_files_arrive(tmp_path, server):
    assert download(CATALOG["mnist"], tmp_path) is None
    assert sorted(path.name for path in (tmp_path / "MNIST" / "raw").iterdir()) == sorted(NAMES)
    assert load_images("mnist", "test", root=tmp_path).labels.tolist() == [0, 1, 2, 3]


def test_another_mirror_is_asked_when_the_first_fails(tmp_path, server, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{_closed()}/", *datasets.MNIST.mirrors])
    assert download(CATALOG["mnist"], tmp_path) is None


def _closed():
    """A port where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def forbidden(server, monkeypatch):
    server.manner = 403


def needs_proxy_password(server, monkeypatch):
    server.manner = 407


def silent(server, monkeypatch):
    server.manner = "slow"
    monkeypatch.setattr(module, "_PATIENCE", 0.1)


def no_http(server, monkeypatch):
    server.manner = "no HTTP"


def no_tls(server, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", [f"https://127.0.0.1:{server.server_port}/"])


def broken_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{_closed()}")


def odd_proxy(server, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:port")


def damaged(server, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "resources", [(name, "0" * 32) for name in FILES])


def no_network(server, monkeypatch):
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://nowhere.invalid/"])

    def unknown(*args, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)


def read_only(server, monkeypatch):
    def refuse(*args, dir, **options):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(dir))

    monkeypatch.setattr(module.tempfile, "TemporaryDirectory", refuse)


CAUSES = {
    forbidden: "answered 403 Forbidden",
    needs_proxy_password: "answered 407 Proxy Authentication Required",
    silent: "no answer within",
    no_http: "who is there?",
    no_tls: "could not be made secure",
    broken_proxy: "through the proxy http://127.0.0.1:",
    odd_proxy: "through the proxy http://127.0.0.1:port",
    damaged: "its hash is not the published one",
    no_network: "there is no network",
    read_only: "cannot be written to: read-only file system",
}


@pytest.mark.parametrize("trouble", CAUSES)
def test_the_cause_is_in_the_sentence_and_the_stand_in_is_used(tmp_path, server, monkeypatch, capsys, trouble):
    trouble(server, monkeypatch)
    root = tmp_path / "new"
    images = load_images("mnist", "test", root=root)
    assert images.is_stand_in and socket.getdefaulttimeout() is None
    (said,) = capsys.readouterr().out.strip().splitlines()
    assert said.startswith(f"MNIST is not under {root}/ and could not be downloaded (") and CAUSES[trouble] in said
    assert "using digits, standing in for MNIST" in said
    with pytest.raises(DataError, match="could not download it") as caught:
        load_images("mnist", "test", root=root, stand_in=False)
    assert CAUSES[trouble] in str(caught.value) and "\n" not in str(caught.value)
    assert not root.exists()


def test_a_root_that_is_a_file_is_the_cause(tmp_path, server, capsys):
    (tmp_path / "data").write_text("x")
    assert load_images("mnist", root=tmp_path / "data").is_stand_in
    assert f"{tmp_path / 'data'} cannot be written to: file exists" in capsys.readouterr().out


def test_two_sources_are_never_mixed(tmp_path, server, capsys):
    """The network that was away for the training images comes back: the test images stay those that go with them."""
    server.manner = 503
    assert load_images("mnist", "train", root=tmp_path).is_stand_in
    server.manner = 200
    assert load_images("mnist", "test", root=tmp_path).is_stand_in
    assert not load_images("mnist", "train", root=tmp_path).is_stand_in
    assert not load_images("mnist", "test", root=tmp_path).is_stand_in


def test_a_missing_file_is_not_made_up_for(tmp_path, server):
    """Neither by a stand-in nor by a download: the files that are there may be another edition."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in NAMES[:2]:
        (folder / name).write_bytes(gzip.decompress(FILES[f"{name}.gz"]))
    assert not load_images("mnist", "train", root=tmp_path).is_stand_in
    for name in ("mnist", "stacked_mnist"):
        with pytest.raises(DataError, match="holds no t10k-images-idx3-ubyte"):
            load_images(name, "test", root=tmp_path)
    assert len(list(folder.iterdir())) == 2

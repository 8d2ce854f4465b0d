"""Paths that settings name, without a server."""

from __future__ import annotations

import pytest

from scripts.serving.paths import PathError, check_file, check_repository_folder


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repository"
    (folder / "encoder" / "1").mkdir(parents=True)
    (folder / "encoder" / "1" / "model.onnx").write_text("model")
    return folder


def test_a_repository_with_links_inside_is_taken(repository, tmp_path):
    (repository / "encoder" / "1" / "model.plan").symlink_to("model.onnx")
    (repository / "encoder" / "1" / "gone").symlink_to("nothing")
    (tmp_path / "link").symlink_to(repository)
    assert check_repository_folder("model_repository", tmp_path / "link") == repository.resolve()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../outside", "/etc"])
def test_a_link_that_leads_out_is_refused(repository, tmp_path, target):
    (tmp_path / "outside").write_text("x")
    (repository / "encoder" / "1" / "model.plan").symlink_to(target)
    with pytest.raises(PathError, match=r"setting 'model_repository': .*model\.plan is a link out of"):
        check_repository_folder("model_repository", repository)


def test_what_every_user_may_write_is_refused(repository):
    (repository / "encoder" / "1" / "model.onnx").chmod(0o666)
    with pytest.raises(PathError, match=r"every user can write .*model\.onnx: chmod o-w"):
        check_repository_folder("model_repository", repository)
    (repository / "encoder" / "1" / "model.onnx").chmod(0o644)
    (repository / "encoder").chmod(0o777)
    with pytest.raises(PathError, match="every user can write"):
        check_repository_folder("model_repository", repository)


def test_files_are_files_and_secrets_are_kept(tmp_path):
    key = tmp_path / "key.pem"
    key.write_text("secret")
    key.chmod(0o644)
    assert check_file("tls_certificate", key) == key.resolve()
    with pytest.raises(PathError, match=r"setting 'tls_key': every user can read .*: chmod o-r"):
        check_file("tls_key", key, secret=True)
    key.chmod(0o640)
    check_file("tls_key", key, secret=True)
    key.chmod(0o642)
    with pytest.raises(PathError, match="every user can write"):
        check_file("tls_key", key, secret=True)
    for missing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(PathError, match=r"setting 'language_model': .* is no file"):
            check_file("language_model", missing)

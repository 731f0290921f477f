"""ParaView's settings name the suite's plugins, and keep everything else that is in them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from amgsrn_core.cli import paraview_settings as settings
from amgsrn_core.cli.paraview_settings import Plugin, programs_in, set_plugins
from amgsrn_core.errors import AmgsrnError

WINDOW = Path("/opt/Para View (6.1)/bin/paraview")
OURS = ("AMGSRN", "NeuralVolume")


def plugins(path):
    """Return name and file of the plugins in the first list, read apart from what wrote it."""
    lines = [line for line in path.read_text().splitlines() if line.startswith("Local")]
    text = lines[0].partition("=")[2].strip('"').replace('\\"', '"').replace("\\n", "\n")
    return {each.get("name"): each.get("filename") for each in ElementTree.fromstring(text)}


def test_a_new_file_is_what_qt_reads(tmp_path):
    path = tmp_path / "new" / "ParaView.ini"
    assert set_plugins(path, WINDOW, [Plugin("AMGSRN", Path("/a b/AMGSRN.py"))], OURS)
    # As Qt 5 and 6 write them: "/" is "\", other characters are their numbers.
    key = r"Local%3A\opt\Para%20View%20%286.1%29\bin\paraview"
    plugin = r"<Plugin name=\"AMGSRN\" filename=\"/a b/AMGSRN.py\" auto_load=\"1\" />"
    assert path.read_text() == f'[PluginsList]\n{key}="<Plugins>{plugin}</Plugins>"\n'
    assert programs_in(path) == [WINDOW]
    assert not set_plugins(path, WINDOW, [Plugin("AMGSRN", Path("/a b/AMGSRN.py"))], OURS)


def test_everything_else_stays(tmp_path):
    path = tmp_path / "ParaView.ini"
    theirs = r"<?xml version=\"1.0\"?>\n<Plugins>\n  <Plugin name=\"Moments\" filename=\"/m.so\" "
    theirs += r"auto_load=\"1\"/>\n  <Plugin name=\"AMGSRN\" filename=\"/old\" auto_load=\"0\"/>\n"
    text = (
        "[General]\nrecent=a, b\n\n[PluginsList]\n"
        f'Local%3A\\usr\\bin\\paraview="{theirs}</Plugins>\\n"\nother%3A\\x=1\n\n[Last]\nx=y\n'
    )
    path.write_text(text)
    window = Path("/usr/bin/paraview")
    assert set_plugins(path, window, [Plugin("AMGSRN", Path("/new"))], OURS)
    assert plugins(path) == {"Moments": "/m.so", "AMGSRN": "/new"}
    assert set_plugins(path, window, [], OURS)
    assert plugins(path) == {"Moments": "/m.so"}
    rest = [line for line in path.read_text().splitlines() if not line.startswith("Local")]
    assert rest == [line for line in text.splitlines() if not line.startswith("Local")]


def test_a_list_of_ours_alone_goes_altogether(tmp_path):
    path = tmp_path / "ParaView.ini"
    path.write_text("[General]\na=1\n")
    set_plugins(path, WINDOW, [Plugin("AMGSRN", Path("/x"))], OURS)
    set_plugins(path, WINDOW, [], OURS)
    assert "Local" not in path.read_text()
    assert path.read_text().startswith("[General]\na=1\n")


def test_names_that_are_not_ascii_come_back(tmp_path):
    path, name = tmp_path / "ParaView.ini", Path("/Bücher/數據/AMGSRN.py")
    set_plugins(path, WINDOW, [Plugin("Other", name)], OURS)
    assert path.read_text().isascii()
    set_plugins(path, WINDOW, [Plugin("AMGSRN", Path("/x"))], OURS)
    line = path.read_text().splitlines()[1]
    found = ElementTree.fromstring(settings._unquoted(line.partition("=")[2]))
    assert [each.get("filename") for each in found] == [str(name), "/x"]


def test_a_list_that_cannot_be_understood_is_left_alone(tmp_path):
    path = tmp_path / "ParaView.ini"
    text = '[PluginsList]\nLocal%3A\\usr\\bin\\paraview="<Plugins><Plug"\n'
    path.write_text(text)
    with pytest.raises(AmgsrnError, match="Manage Plugins"):
        set_plugins(path, Path("/usr/bin/paraview"), [Plugin("AMGSRN", Path("/x"))], OURS)
    assert path.read_text() == text


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(AmgsrnError, match="XDG_CONFIG_HOME"):
        set_plugins(tmp_path / "file" / "x.ini", WINDOW, [Plugin("AMGSRN", Path("/x"))], OURS)


@pytest.mark.parametrize(
    ("version", "name"),
    [("5.11.0", "ParaView5.11.0.ini"), ("5.13.2", "ParaView5.13.2.ini"), ("6.1.1", "ParaView.ini")],
)
def test_each_version_has_its_file(monkeypatch, tmp_path, version, name):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setattr(settings.sys, "platform", "linux")
    assert settings.settings_file(version) == tmp_path / "ParaView" / name

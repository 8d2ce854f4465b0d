"""The configurations: what is committed is what the description renders, and it keeps the contract."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from scripts.export.description import ModelDescription
from scripts.export.layout import Layout
from scripts.export.model_configs import ModelConfigs
from scripts.export.serving_options import ServingOptions

REPOSITORY = Path(__file__).resolve().parents[2] / "model-repo"
SEQUENCE_MODELS = ("preprocessor", "encoder", "decoder")


@pytest.fixture(scope="module")
def description() -> ModelDescription:
    return ModelDescription.load(Layout(REPOSITORY).description)


@pytest.fixture(scope="module")
def configs(description: ModelDescription) -> dict[str, pb.ModelConfig]:
    return {config.name: config for config in ModelConfigs(description, ServingOptions()).all()}


def test_committed_files_are_what_the_description_renders(tmp_path: Path, description: ModelDescription) -> None:
    Layout(tmp_path).write_configs(description, ServingOptions())
    rendered = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("config.pbtxt"))
    assert rendered == sorted(path.relative_to(REPOSITORY) for path in REPOSITORY.glob("*/config.pbtxt"))
    for path in rendered:
        assert (tmp_path / path).read_text() == (REPOSITORY / path).read_text(), path


def test_text_parses_back_to_the_same_message(tmp_path: Path, configs: dict[str, pb.ModelConfig]) -> None:
    for name, config in configs.items():
        text = (REPOSITORY / name / "config.pbtxt").read_text()
        assert text_format.Parse(text, pb.ModelConfig()) == config


def test_every_sequence_model_has_the_same_limits(configs: dict[str, pb.ModelConfig]) -> None:
    sections = [configs[name].sequence_batching for name in SEQUENCE_MODELS]
    assert {section.max_sequence_idle_microseconds for section in sections} == {60_000_000}
    assert {section.oldest.max_candidate_sequences for section in sections} == {1024}
    for section in sections:
        assert not section.control_input


def test_batch_models_are_no_sequence_models(configs: dict[str, pb.ModelConfig]) -> None:
    for name in ("preprocessor_batch", "encoder_batch", "decoder_batch", "decoder_joint"):
        assert not configs[name].HasField("sequence_batching")
        assert configs[name].HasField("dynamic_batching")


def test_state_names_sort_alike_on_both_sides(configs: dict[str, pb.ModelConfig]) -> None:
    """Triton pairs the inputs and outputs of implicit state by the order of their names."""
    states = configs["encoder"].sequence_batching.state
    by_input = sorted(states, key=lambda state: state.input_name)
    by_output = sorted(states, key=lambda state: state.output_name)
    assert [state.input_name for state in by_input] == [state.input_name for state in by_output]
    assert all(state.initial_state[0].zero_data and state.initial_state[0].dims == state.dims for state in states)


@pytest.mark.parametrize("ensemble", ["asr_streaming", "asr_batch"])
def test_steps_of_an_ensemble_fit_together(ensemble: str, configs: dict[str, pb.ModelConfig]) -> None:
    """Every tensor a step takes is made by an earlier one with the same type and sizes; all outputs are made."""
    config = configs[ensemble]
    known = {tensor.name: (tensor.data_type, list(tensor.dims)) for tensor in config.input}
    for step in config.ensemble_scheduling.step:
        model = configs[step.model_name]
        assert model.max_batch_size >= config.max_batch_size
        assert {tensor.name for tensor in model.input} == set(step.input_map)
        for tensor in model.input:
            assert known[step.input_map[tensor.name]] == (tensor.data_type, list(tensor.dims))
        for tensor in model.output:
            known[step.output_map[tensor.name]] = (tensor.data_type, list(tensor.dims))
    for tensor in config.output:
        assert known[tensor.name] == (tensor.data_type, list(tensor.dims))


def test_decoder_joint_takes_more_rows_than_there_are_streams(description: ModelDescription) -> None:
    options = ServingOptions(max_batch_size=4, batch_max_batch_size=12, joint_max_batch_size=48)
    configs = {config.name: config for config in ModelConfigs(description, options).all()}
    assert configs["decoder"].max_batch_size == 4
    assert configs["decoder_batch"].max_batch_size == 12
    assert configs["decoder_joint"].max_batch_size == 48
    for name in ("decoder", "decoder_batch"):
        assert configs[name].parameters["joint_max_batch_size"].string_value == "48"


def test_numbers_come_from_the_description(description: ModelDescription) -> None:
    other = dataclasses.replace(
        description,
        mel=dataclasses.replace(description.mel, n_mels=128, log_guard=1e-5),
        transducer=dataclasses.replace(description.transducer, prediction_layers=2, prediction_hidden=640),
    )
    configs = {config.name: config for config in ModelConfigs(other, ServingOptions()).all()}
    assert list(configs["encoder"].input[0].dims) == [128, -1]
    assert configs["preprocessor"].parameters["log_guard"].string_value == "1e-05"
    states = [tensor for tensor in configs["decoder_joint"].input if tensor.name.startswith("STATE")]
    assert [list(tensor.dims) for tensor in states] == [[2, 640], [2, 640]]
    assert configs["decoder"].parameters["prediction_layers"].string_value == "2"


@pytest.mark.parametrize("durations", [(), (0, 1, 2, 3, 4)])
def test_durations_are_told_to_the_decoders(durations: tuple[int, ...], description: ModelDescription) -> None:
    transducer = dataclasses.replace(description.transducer, durations=durations)
    other = dataclasses.replace(description, transducer=transducer)
    configs = {config.name: config for config in ModelConfigs(other, ServingOptions()).all()}
    for name in ("decoder", "decoder_batch"):
        assert configs[name].parameters["durations"].string_value == ("true" if durations else "false")
    outputs = {output.name for output in configs["decoder_joint"].output}
    assert ("DURATION" in outputs) == bool(durations)


def test_parameters_keep_every_digit(description: ModelDescription, configs: dict[str, pb.ModelConfig]) -> None:
    assert float(configs["preprocessor"].parameters["log_guard"].string_value) == description.mel.log_guard
    assert float(configs["decoder"].parameters["frame_secs"].string_value) == description.frame_secs


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ServingOptions)])
def test_options_below_one_are_refused(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} is 0; it must be at least 1"):
        ServingOptions(**{field: 0})


def test_triton_limit_below_ours_is_refused() -> None:
    with pytest.raises(ValueError, match="max_candidate_sequences is 100"):
        ServingOptions(max_candidate_sequences=100, max_concurrent_streams=101)


@pytest.mark.parametrize(("name", "reason"), [("none.nemo", "no such file"), ("text.nemo", "is no .nemo archive")])
def test_what_is_no_checkpoint_is_refused_before_nemo_is_imported(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "text.nemo").write_text("no tar file")
    program = "import sys; sys.modules['nemo'] = None; from scripts.export.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / name), "--model-repo", str(tmp_path / "out")],
        cwd=REPOSITORY.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert reason in done.stderr
    assert str(tmp_path / name) in done.stderr
    assert not (tmp_path / "out").exists()

"""Sequences that modules generate: one inference a prompt, with its answer and how likely that was."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.sdk_rig import inferences_in
from torch import nn
from transformers import BertTokenizer, GPT2Config, GPT2LMHeadModel, T5Config, T5ForConditionalGeneration

import davy

torch.set_num_threads(1)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day", "night", "rain", "sun", "sea"]
PROMPTS = torch.tensor([[2, 5, 6], [2, 7, 8]])


@pytest.fixture
def gpt() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=12, n_positions=32, n_embd=16, n_layer=1, n_head=2, initializer_range=0.6)
    model = GPT2LMHeadModel(config).eval()
    model.generation_config.update(max_new_tokens=5, eos_token_id=3, bos_token_id=2, pad_token_id=0)
    return model


@pytest.fixture
def words(tmp_path: Path) -> Any:
    file = tmp_path / "vocab.txt"
    file.write_text("\n".join(WORDS))
    return BertTokenizer(str(file))


def captured(url: str) -> list[Any]:
    assert davy.flush()
    return inferences_in(url)


def surprisals(model: Any, prompt: torch.Tensor, answer: np.ndarray) -> np.ndarray:
    """Work out the surprisal of each token of an answer in one pass over all of it."""
    whole = torch.cat([prompt, torch.tensor(answer.tolist())])[None]
    with torch.inference_mode():
        likely = GPT2LMHeadModel.forward(model, input_ids=whole).logits[0].log_softmax(-1)
    at = range(len(prompt) - 1, whole.shape[1] - 1)
    return np.array([-float(likely[place, whole[0, place + 1]]) for place in at])


@pytest.mark.parametrize(
    "asked", [{}, {"do_sample": True}, {"use_cache": False}], ids=["greedy", "sampled", "uncached"]
)
def test_generate_is_one_inference_a_prompt_with_answer_and_surprisal(
    asked: dict[str, Any], gpt: Any, words: Any, own_client: str
) -> None:
    torch.manual_seed(3)
    plain = copy.deepcopy(gpt).generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), **asked)
    watched = davy.watch(gpt, "gpt:1", tokenizer=words)
    assert watched is gpt
    torch.manual_seed(3)
    answer = watched.generate(PROMPTS, attention_mask=torch.ones_like(PROMPTS), **asked)
    assert torch.equal(answer, plain)
    found = captured(own_client)
    assert len(found) == len(PROMPTS)
    for one, prompt, row in zip(found, PROMPTS, answer, strict=True):
        np.testing.assert_array_equal(one.inputs["input_ids"], prompt)
        assert one.inputs["text"] == words.decode(prompt, skip_special_tokens=True)
        kept = one.outputs["output_ids"]
        np.testing.assert_array_equal(kept, row[3 : 3 + len(kept)])
        assert one.outputs["token_count"] == len(kept)
        assert one.outputs["finish_reason"] == ("stop" if kept[-1] == 3 else "length")
        assert one.outputs["text"] == words.decode(kept, skip_special_tokens=True)
        expected = surprisals(gpt, prompt, kept)
        assert one.outputs["mean_surprisal"] == pytest.approx(expected.mean(), rel=1e-4)
        assert one.outputs["max_surprisal"] == pytest.approx(expected.max(), rel=1e-4)
        assert one.latency_ms is not None
        assert one.latency_ms > 0


def test_padding_is_no_part_of_a_prompt(gpt: Any, own_client: str) -> None:
    davy.watch(gpt, "gpt:1").generate(
        torch.tensor([[0, 2, 5], [2, 7, 8]]), attention_mask=torch.tensor([[0, 1, 1], [1, 1, 1]])
    )
    assert [one.inputs["input_ids"].tolist() for one in captured(own_client)] == [[2, 5], [2, 7, 8]]


def test_several_sequences_stand_beside_the_first(gpt: Any, own_client: str) -> None:
    torch.manual_seed(1)
    answer = davy.watch(gpt, "gpt:1").generate(PROMPTS[:1], do_sample=True, num_return_sequences=3)
    (one,) = captured(own_client)
    np.testing.assert_array_equal(one.outputs["output_ids"], answer[0, 3 : 3 + one.outputs["token_count"]])
    assert len(one.outputs["others"]) == 2
    assert one.outputs["mean_surprisal"] > 0


def test_beams_have_an_answer_and_no_surprisal_that_is_not_theirs(gpt: Any, own_client: str) -> None:
    answer = davy.watch(gpt, "gpt:1").generate(PROMPTS, num_beams=3, return_dict_in_generate=True)
    assert answer.sequences.shape[0] == 2
    for one in captured(own_client):
        assert one.outputs["token_count"] > 0
        if "mean_surprisal" in one.outputs:  # the beam never changed
            expected = surprisals(gpt, PROMPTS[0], one.outputs["output_ids"])
            assert one.outputs["max_surprisal"] == pytest.approx(expected.max(), rel=1e-4)


def test_a_model_of_two_sides_gives_the_tokens_of_its_answer(own_client: str) -> None:
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=12, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0,
        initializer_factor=3.0,
    )  # fmt: skip
    t5 = davy.watch(T5ForConditionalGeneration(config).eval(), "t5:1")
    answer = t5.generate(PROMPTS, max_new_tokens=4)
    found = captured(own_client)
    assert len(found) == 2
    for one, row in zip(found, answer, strict=True):
        kept = one.outputs["output_ids"]
        np.testing.assert_array_equal(kept, row[1 : 1 + len(kept)])
        assert one.outputs["mean_surprisal"] > 0


def test_a_forward_pass_of_its_own_gives_the_next_token_and_no_row_of_logits(
    gpt: Any, own_client: str
) -> None:
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    with torch.inference_mode():
        answer = davy.watch(gpt, "gpt:1")(input_ids=PROMPTS, attention_mask=mask)
    likely = answer.logits.softmax(-1)
    for one, row in zip(captured(own_client), (likely[0, 1], likely[1, 2]), strict=True):
        assert one.outputs["label"] == int(row.argmax())
        assert one.outputs["score"] == pytest.approx(float(row.max()), rel=1e-4)
        assert one.outputs["entropy"] == pytest.approx(float(-(row * row.log()).sum()), rel=1e-4)
        assert "logits" not in one.outputs


def test_the_logits_of_the_last_token_are_kept_where_they_are_asked_for(gpt: Any, own_client: str) -> None:
    with torch.inference_mode():
        answer = davy.watch(gpt, "gpt:1", output="logits")(input_ids=PROMPTS)
    for one, row in zip(captured(own_client), answer.logits[:, -1], strict=True):
        np.testing.assert_array_equal(one.outputs["logits"], row)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))], ids=["copy", "pickle"]
)
def test_copies_generate_by_themselves_and_are_captured(again: Any, gpt: Any, own_client: str) -> None:
    first = davy.watch(gpt, "gpt:1")
    other = again(first)
    with torch.no_grad():
        other.lm_head.weight.zero_()
    assert not torch.equal(other.generate(PROMPTS[:1]), first.generate(PROMPTS[:1]))
    assert len(captured(own_client)) == 2
    assert set(other.state_dict()) == set(first.state_dict())


def test_two_names_capture_each_once(gpt: Any, own_client: str) -> None:
    davy.watch(davy.watch(gpt, "gpt:1"), "gpt:2")
    davy.watch(gpt, "gpt:1").generate(PROMPTS)
    found = captured(own_client)
    assert sorted(one.model for one in found) == ["gpt:1", "gpt:1", "gpt:2", "gpt:2"]
    assert all("output_ids" in one.outputs for one in found)


class Nano(nn.Module):
    """Generates as models written by hand do: logits and a loss, the whole sequence a pass."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 9)

    def forward(self, idx: torch.Tensor, targets: Any = None) -> tuple[torch.Tensor, Any]:
        del targets
        return self.table(idx), None

    def generate(self, idx: torch.Tensor, max_new_tokens: int) -> torch.Tensor:
        for _ in range(max_new_tokens):
            logits, _ = self(idx)
            idx = torch.cat([idx, logits[:, -1].argmax(-1, keepdim=True)], dim=1)
        return idx


def test_a_generator_written_by_hand_is_one_inference_a_prompt(own_client: str) -> None:
    torch.manual_seed(0)
    answer = davy.watch(Nano().eval(), "nano:1").generate(torch.tensor([[1, 2], [3, 4]]), max_new_tokens=4)
    found = captured(own_client)
    assert [one.outputs["output_ids"].tolist() for one in found] == answer[:, 2:].tolist()
    assert all(one.outputs["mean_surprisal"] > 0 for one in found)


class Refuses(Nano):
    def generate(self, idx: torch.Tensor, max_new_tokens: int) -> torch.Tensor:
        raise ValueError("no")


def test_what_a_model_raises_while_it_generates_reaches_the_app_and_calls_are_captured_again(
    own_client: str,
) -> None:
    model = davy.watch(Refuses().eval(), "nano:1")
    with pytest.raises(ValueError, match="no"):
        model.generate(torch.tensor([[1, 2]]), max_new_tokens=1)
    model(torch.tensor([[1, 2], [3, 4]]))
    assert len(captured(own_client)) == 2


class Beyond(Nano):
    """Marks the end of a sequence by a token that has no logit."""

    def generate(self, idx: torch.Tensor, max_new_tokens: int) -> torch.Tensor:
        first = super().generate(idx, max_new_tokens)
        self(first)
        return torch.cat([first, torch.full((len(idx), 1), 9)], dim=1)


def test_a_token_without_a_logit_has_no_surprisal(own_client: str) -> None:
    davy.watch(Beyond().eval(), "nano:1").generate(torch.tensor([[1, 2], [3, 4]]), max_new_tokens=2)
    assert [
        ("mean_surprisal" in one.outputs, one.outputs["token_count"]) for one in captured(own_client)
    ] == [
        (False, 3),
        (False, 3),
    ]


@pytest.mark.parametrize("count", [2, 1])
@pytest.mark.parametrize(
    ("inputs", "fields"),
    [
        (["input_ids"], {"input_ids"}),
        (["inputs"], {"input_ids"}),  # as the argument is called
        ("text", {"text"}),
        (["text", "input_ids"], {"text", "input_ids"}),
        ([], set()),
        (["input_idx"], set()),
        (lambda inputs, **_: {"ids": inputs, "season": "w"}, {"ids", "season"}),
        (lambda prompt: {"ids": prompt}, set()),
    ],
)
def test_only_the_inputs_that_the_app_wants_travel(
    inputs: Any, fields: set[str], count: int, gpt: Any, words: Any, own_client: str
) -> None:
    asked = PROMPTS[:count]
    davy.watch(gpt, "gpt:1", tokenizer=words, inputs=inputs).generate(asked, max_new_tokens=3)
    found = captured(own_client)
    assert [set(one.inputs) for one in found] == [fields] * count
    for one, prompt in zip(found, asked, strict=True):
        for name in fields & {"ids", "input_ids"}:
            np.testing.assert_array_equal(one.inputs[name], prompt)
        assert one.outputs["token_count"] > 0
    lost = not fields and inputs != []
    reason = "inputs_failed" if callable(inputs) else "no_inputs"
    assert davy.stats()["incomplete"] == ({reason: count} if lost else {})


def forecaster(name: str) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Return a tiny forecaster of three samples of four steps, and the shapes of what one inference is given."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")
    steps = {"prediction_length": 4, "num_parallel_samples": 3, "d_model": 8}
    if name.startswith("Patch"):
        layers = {"num_layers": 1} if name == "PatchTSMixer" else {"num_hidden_layers": 1, "ffn_dim": 8}
        heads = {} if name == "PatchTSMixer" else {"num_attention_heads": 2}
        patches = {"context_length": 16, "patch_length": 4, "patch_stride": 4, "num_input_channels": 2}
        made = config(loss="nll", **steps, **layers, **heads, **patches)
        given: dict[str, tuple[int, ...]] = {"past_values": (16, 2)}
    else:
        sides = ("encoder", "decoder")
        layers = {f"{side}_layers": 1 for side in sides} | {f"{side}_ffn_dim": 8 for side in sides}
        heads = {f"{side}_attention_heads": 2 for side in sides}
        more = {"label_length": 2, "moving_average": 3} if name == "Autoformer" else {}
        past = {"context_length": 8, "lags_sequence": [1, 2], "num_time_features": 1}
        made = config(**steps, **layers, **heads, **past, **more)
        given = {"past_values": (10,), "past_time_features": (10, 1), "past_observed_mask": (10,)}
        given |= {"future_time_features": (4, 1)}
    return getattr(transformers, f"{name}ForPrediction")(made).eval(), given


FORECASTERS = ["TimeSeriesTransformer", "Informer", "Autoformer", "PatchTST", "PatchTSMixer"]


@pytest.mark.parametrize("count", [5, 3, 1])  # of which one is that of the samples
@pytest.mark.parametrize("name", FORECASTERS)
def test_a_forecast_is_one_inference_a_row_and_no_pass_within(name: str, count: int, own_client: str) -> None:
    model, shapes = forecaster(name)
    given = {each: torch.rand(count, *shape) for each, shape in shapes.items()}
    torch.manual_seed(1)
    plain = copy.deepcopy(model).generate(**given).sequences
    watched = davy.watch(model, "forecast:1")
    torch.manual_seed(1)
    answer = watched.generate(**given).sequences
    assert torch.equal(answer, plain)
    found = captured(own_client)
    assert len(found) == count
    for at, one in enumerate(found):
        assert set(one.inputs) == set(given)
        for each, values in given.items():
            np.testing.assert_array_equal(one.inputs[each], values[at])
        assert set(one.outputs) == {"value"}
        np.testing.assert_array_equal(one.outputs["value"], answer[at])
    stats = davy.stats()
    assert [stats[each] for each in ("left_out", "misread", "integration_failed")] == [{}, {}, 0]


def test_options_hold_for_forecasts_and_copies_and_pickles_are_captured(own_client: str) -> None:
    model, _ = forecaster("PatchTST")
    model = davy.watch(model, "forecast:1", inputs=["future"], output="sequences")
    davy.watch(model, "forecast:1", inputs=["past_values"], output="sequences")  # once, as it was said last
    for each in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        each.generate(past_values=torch.rand(2, 16, 2))
    found = captured(own_client)
    assert [[*one.inputs, *one.outputs] for one in found] == [["past_values", "sequences"]] * 6


def speech() -> Any:
    torch.manual_seed(0)
    sides = ("encoder", "decoder")
    layers = {f"{side}_{what}": size for side in sides for what, size in (("layers", 1), ("ffn_dim", 16))}
    heads = {f"{side}_attention_heads": 2 for side in sides}
    parts = {"speech_decoder_prenet_units": 16, "speech_decoder_postnet_units": 16}
    config = transformers.SpeechT5Config(
        vocab_size=12, hidden_size=16, speaker_embedding_dim=8, num_mel_bins=8, **layers, **heads, **parts
    )
    return davy.watch(transformers.SpeechT5ForTextToSpeech(config).eval(), "speech:1")


@pytest.mark.parametrize("method", ["generate", "generate_speech"])
def test_spectrograms_are_one_inference_a_text(method: str, own_client: str) -> None:
    speak = getattr(speech(), method)
    speakers = torch.rand(2, 8)
    answer = speak(PROMPTS, speaker_embeddings=speakers, maxlenratio=2.0)
    sound = speak(PROMPTS[:1], speaker_embeddings=speakers[:1], maxlenratio=2.0, vocoder=nn.Flatten(-2))
    first, second, alone = captured(own_client)
    for one, prompt, speaker, spoken in zip((first, second), PROMPTS, speakers, answer, strict=True):
        np.testing.assert_array_equal(one.inputs["input_ids"], prompt)
        np.testing.assert_array_equal(one.inputs["speaker_embeddings"], speaker)
        np.testing.assert_array_equal(one.outputs["value"], spoken)
    np.testing.assert_array_equal(alone.outputs["value"], sound)


def test_music_is_one_inference_a_text(own_client: str) -> None:
    torch.manual_seed(0)
    text = T5Config(vocab_size=12, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    audio = transformers.EncodecConfig(
        codebook_size=16, codebook_dim=8, hidden_size=8, num_filters=4, num_lstm_layers=1,
        upsampling_ratios=[2, 2], sampling_rate=16, target_bandwidths=[0.032],
    )  # fmt: skip
    decoder = transformers.MusicgenDecoderConfig(
        vocab_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, ffn_dim=16, num_codebooks=2
    )
    config = transformers.MusicgenConfig(text_encoder=text, audio_encoder=audio, decoder=decoder)
    model = transformers.MusicgenForConditionalGeneration(config).eval()
    beyond = {"decoder_start_token_id": 16, "pad_token_id": 16, "bos_token_id": 16}  # of the vocabulary of 16
    model.generation_config.update(**beyond)
    answer = davy.watch(model, "music:1").generate(input_ids=PROMPTS, max_new_tokens=6)
    found = captured(own_client)
    assert len(found) == len(answer) == 2
    for one, prompt, sound in zip(found, PROMPTS, answer, strict=True):
        np.testing.assert_array_equal(one.inputs["input_ids"], prompt)
        np.testing.assert_array_equal(one.outputs["value"], sound)


class Paints(nn.Module):
    """Generates pictures of noise, in a pass or two."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 12)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return self.body(noise)

    def generate(self, noise: torch.Tensor) -> torch.Tensor:
        return (self(noise) + self(noise)).reshape(-1, 3, 2, 2)


def test_whatever_a_generator_written_by_hand_answers_is_one_inference_a_row(own_client: str) -> None:
    noise = torch.rand(5, 4)
    model = davy.watch(Paints().eval(), "paints:1")
    answer = model.generate(noise).detach()
    assert model.generate(noise[:0]).shape[0] == 0
    found = captured(own_client)
    assert len(found) == 5
    for one, given, picture in zip(found, noise, answer, strict=True):
        np.testing.assert_array_equal(one.inputs["noise"], given)
        np.testing.assert_array_equal(one.outputs["value"], picture)

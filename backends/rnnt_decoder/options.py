"""What a stream may ask of the decoder, as request parameters of its START."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from common.client_key import is_client_key
from rnnt_decoder.boosting import PhraseBoost
from rnnt_decoder.endpoints import NO_ENDPOINTS, EndpointRules
from rnnt_decoder.fusion import Fusion, FusionModel
from rnnt_decoder.language_model import LanguageModel, WeightedLanguageModel
from rnnt_decoder.tokenizer import Tokenizer

Value = str | int | float | bool
Parameters = Mapping[str, Value]

MAX_PHRASES = 10_000
_MAX_PHRASE_LENGTH = 200
# Every stream waits while a set is prepared: this many characters take about 0.1 s, and some megabytes.
_MAX_PHRASE_CHARACTERS = 200_000
_MAX_PHRASE_TEXT = 2_000_000
_KEPT_PHRASE_SETS = 64
_KEPT_PHRASE_NODES = 1_000_000


@dataclass(frozen=True)
class DecodingOptions:
    """Options of one stream.

    Attributes:
        beam_size: hypotheses kept; 1 is greedy search.
        n_best: alternatives reported, at most `beam_size`.
        length_normalization: whether alternatives are compared by score per token.
        fusion: language model and phrases; None for neither.
        endpoints: when a segment ends.
    """

    beam_size: int = 1
    n_best: int = 1
    length_normalization: bool = True
    fusion: Fusion | None = None
    endpoints: EndpointRules = NO_ENDPOINTS


class OptionsReader:
    """Reads and checks request parameters.

    | parameter | type | allowed | default |
    |---|---|---|---|
    | beam_size | int | 1 to the model's max_beam_size | 1 |
    | n_best | int | 1 to beam_size | 1 |
    | length_normalization | bool | | true |
    | lm_weight | number | 0 to 5; more than 0 needs a language model | the model's |
    | phrases | JSON text: list of texts or {"text", "weight"} | up to 10,000, of 200,000 characters together | none |
    | phrase_weight | number | 0 to 20, natural-log score per token | 1.5 |
    | endpointing | bool | | false |
    | endpoint_silence_ms | int | 80 to 60,000 | 800 |
    | endpoint_no_speech_ms | int | 80 to 600,000, or 0 for never | 0 |
    | endpoint_length_ms | int | 1,000 to 600,000, or 0 for never | 20,000 |
    | finalize (any chunk) | bool | | false |

    `sample_rate`, `audio_crc32`, `x-amira-client` and names that start with `vad_` are the preprocessor's.
    Numbers may be text.
    """

    def __init__(
        self,
        *,
        frame_secs: float,
        labels: int,
        max_beam_size: int,
        tokenizer: Tokenizer | None,
        language_model: LanguageModel | None,
        lm_weight: float,
    ) -> None:
        """Remember what the model offers.

        Args:
            frame_secs: seconds to an encoder frame.
            labels: number of labels without the blank.
            max_beam_size: the largest beam a stream may ask for.
            tokenizer: None when the model has none, so that phrases are refused.
            language_model: None when none is configured.
            lm_weight: weight for streams that do not say.
        """
        self._frame_secs, self._labels, self._max_beam_size = frame_secs, labels, max_beam_size
        self._tokenizer, self._language_model, self._lm_weight = tokenizer, language_model, lm_weight
        self._phrase_sets: OrderedDict[tuple[str, float], PhraseBoost] = OrderedDict()

    def read(self, parameters: Parameters) -> DecodingOptions:
        """Return the options of a stream.

        Raises:
            ValueError: an unknown parameter, or a value that is not allowed; both are named.
        """
        values = _Values(parameters)
        beam_size = values.integer("beam_size", 1, 1, self._max_beam_size)
        options = DecodingOptions(
            beam_size=beam_size,
            n_best=values.integer("n_best", 1, 1, beam_size),
            length_normalization=values.boolean("length_normalization", default=True),
            fusion=self._fusion(values),
            endpoints=self._endpoints(values),
        )
        values.boolean("finalize", default=False)
        values.refuse_unknown()
        return options

    @staticmethod
    def finalizes(parameters: Parameters) -> bool:
        """Return whether a chunk ends its segment. Raises ValueError."""
        return _Values(parameters).boolean("finalize", default=False)

    def check_later(self, parameters: Parameters) -> bool:
        """Check the parameters of a later chunk; return as `finalizes`. Raises ValueError for any other parameter."""
        finalize = self.finalizes(parameters)
        late = [name for name in parameters if name != "finalize" and not _of_the_preprocessor(name)]
        if late:
            raise ValueError(f"{late[0]} comes too late; allowed only with START")
        return finalize

    def _fusion(self, values: _Values) -> Fusion | None:
        models: list[FusionModel] = []
        blank_weight = 0.0
        lm_weight = values.number("lm_weight", self._lm_weight, 0.0, 5.0)
        if lm_weight and self._language_model is None:
            raise ValueError(f"lm_weight is {lm_weight:g}; this model has no language model, allowed is 0")
        if lm_weight and self._language_model is not None:
            models.append(WeightedLanguageModel(self._language_model, lm_weight))
            blank_weight = lm_weight if self._language_model.weighs_blank else 0.0
        weight = values.number("phrase_weight", 1.5, 0.0, 20.0)
        text = values.text("phrases")
        if text:
            models.append(self._phrases(text, weight))
        return Fusion(tuple(models), blank_weight) if models else None

    def _phrases(self, text: str, default_weight: float) -> PhraseBoost:
        if self._tokenizer is None:
            raise ValueError("phrases: this model has no tokenizer to write them with")
        key = (text, default_weight)
        if key not in self._phrase_sets:
            phrases, weights = _read_phrases(text, default_weight)
            try:
                encoded = self._tokenizer.encode(phrases)
            except ValueError as error:
                raise ValueError(f"phrases: {error}") from None
            self._phrase_sets[key] = PhraseBoost(encoded, weights, self._labels)
            while len(self._phrase_sets) > 1 and (
                len(self._phrase_sets) > _KEPT_PHRASE_SETS
                or sum(map(len, self._phrase_sets.values())) > _KEPT_PHRASE_NODES
            ):
                self._phrase_sets.popitem(last=False)
        self._phrase_sets.move_to_end(key)
        return self._phrase_sets[key]

    def _endpoints(self, values: _Values) -> EndpointRules:
        enabled = values.boolean("endpointing", default=False)
        silence = values.integer("endpoint_silence_ms", 800, 80, 60_000)
        no_speech = values.integer("endpoint_no_speech_ms", 0, 80, 600_000, zero=True)
        length = values.integer("endpoint_length_ms", 20_000, 1_000, 600_000, zero=True)
        if not enabled:
            return NO_ENDPOINTS
        never = NO_ENDPOINTS.length_frames
        return EndpointRules(
            silence_frames=self._frames(silence),
            no_speech_frames=self._frames(no_speech) if no_speech else never,
            length_frames=self._frames(length) if length else never,
        )

    def _frames(self, milliseconds: int) -> int:
        return math.ceil(milliseconds / 1000 / self._frame_secs - 1e-6)


def _of_the_preprocessor(name: str) -> bool:
    return name in ("sample_rate", "audio_crc32") or name.startswith("vad_") or is_client_key(name)


class _Values:
    """Typed access to request parameters, remembering which were read."""

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._known: set[str] = set()

    def integer(self, name: str, default: int, least: int, most: int, *, zero: bool = False) -> int:
        allowed = f"allowed: whole numbers {least} to {most}" + (", or 0" if zero else "")
        return int(
            self._number(name, default, lambda n: n % 1 == 0 and (least <= n <= most or (zero and n == 0)), allowed)
        )

    def number(self, name: str, default: float, least: float, most: float) -> float:
        allowed = f"allowed: numbers {least:g} to {most:g}"
        return self._number(name, default, lambda n: least <= n <= most, allowed)

    def boolean(self, name: str, *, default: bool) -> bool:
        value = self._get(name, default)
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}; allowed: true, false")  # noqa: TRY004  the caller's fault, as all here
        return value

    def text(self, name: str) -> str:
        value = self._get(name, "")
        if not isinstance(value, str):
            raise ValueError(f"{name} is {value!r}; it has to be text")  # noqa: TRY004
        return value

    def refuse_unknown(self) -> None:
        unknown = [name for name in self._parameters if name not in self._known and not _of_the_preprocessor(name)]
        if unknown:
            raise ValueError(f"unknown parameter {unknown[0]!r}; known: {', '.join(sorted(self._known))}")

    def _get(self, name: str, default: Value) -> Value:
        self._known.add(name)
        return self._parameters.get(name, default)

    def _number(self, name: str, default: float, fits: Callable[[float], bool], allowed: str) -> float:
        value = self._get(name, default)
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except ValueError:
            number = math.nan
        if not fits(number):
            raise ValueError(f"{name} is {value!r}; {allowed}")
        return number


def _read_phrases(text: str, default_weight: float) -> tuple[list[str], list[float]]:
    """Parse the parameter `phrases`. Raises ValueError."""
    if len(text) > _MAX_PHRASE_TEXT:
        raise ValueError(f"phrases has {len(text):,} characters of JSON; allowed: up to {_MAX_PHRASE_TEXT:,}")
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits, lists in lists in lists
        raise ValueError(f"phrases is {text!r}; allowed: a list of texts in JSON ({error})") from None
    if not isinstance(entries, list) or not 1 <= len(entries) <= MAX_PHRASES:
        found = f"{len(entries):,} entries" if isinstance(entries, list) else type(entries).__name__
        raise ValueError(f"phrases has {found}; allowed: a list of 1 to {MAX_PHRASES:,}")
    pairs = [_read_phrase(f"phrases[{number}]", entry, default_weight) for number, entry in enumerate(entries)]
    phrases, weights = [phrase for phrase, _ in pairs], [weight for _, weight in pairs]
    characters = sum(map(len, phrases))
    if characters > _MAX_PHRASE_CHARACTERS:
        raise ValueError(f"phrases have {characters:,} characters; allowed: up to {_MAX_PHRASE_CHARACTERS:,} together")
    return phrases, weights


def _read_phrase(name: str, entry: object, default_weight: float) -> tuple[str, float]:
    if isinstance(entry, str):
        entry = {"text": entry}
    if not isinstance(entry, dict) or set(entry) - {"text", "weight"} or not isinstance(entry.get("text"), str):
        raise ValueError(f'{name} is {entry!r}; allowed: a text or {{"text": …, "weight": …}}')
    phrase, weight = entry["text"].strip(), entry.get("weight", default_weight)
    if not 1 <= len(phrase) <= _MAX_PHRASE_LENGTH:
        raise ValueError(f"{name} has {len(phrase)} characters; allowed: 1 to {_MAX_PHRASE_LENGTH}")
    if phrase.encode("utf-8", "replace").decode() != phrase:
        raise ValueError(f"{name} is {phrase!r}; allowed: text without single surrogates")
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= 20:
        raise ValueError(f"{name}.weight is {weight!r}; allowed: numbers 0 to 20")
    return phrase, float(weight)

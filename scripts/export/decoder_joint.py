"""Prediction network and joint as one stateless graph, batch first."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from nemo.collections.asr.modules import RNNTDecoder, RNNTJoint
from torch import Tensor, nn

CONFIDENCE_ALPHA = 0.33


class LSTMStep(nn.Module):
    """One time step of one `nn.LSTM` layer as a single matrix product: a plain graph for every runtime."""

    def __init__(self, lstm: nn.LSTM, layer: int) -> None:
        """Take over the weights of one layer."""
        super().__init__()
        input_weight = getattr(lstm, f"weight_ih_l{layer}")
        hidden_weight = getattr(lstm, f"weight_hh_l{layer}")
        bias = getattr(lstm, f"bias_ih_l{layer}") + getattr(lstm, f"bias_hh_l{layer}")
        self.gates = nn.Linear(input_weight.size(1) + lstm.hidden_size, 4 * lstm.hidden_size)
        self.gates.weight = nn.Parameter(torch.cat([input_weight, hidden_weight], dim=1))
        self.gates.bias = nn.Parameter(bias)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Return the next h and c, [B, hidden] as the given ones."""
        input_gate, forget_gate, cell, output_gate = self.gates(torch.cat([x, h], dim=1)).chunk(4, dim=1)
        c = forget_gate.sigmoid() * c + input_gate.sigmoid() * cell.tanh()
        return output_gate.sigmoid() * c.tanh(), c


class DecoderJoint(nn.Module):
    """`RNNTDecoder.predict(add_sos=False)` and `RNNTJoint.joint` for one label and a run of encoder frames."""

    def __init__(self, decoder: RNNTDecoder, joint: RNNTJoint, durations: Sequence[int] = ()) -> None:
        """Take over the weights. The embedding of the blank is zero (`blank_as_pad`): no label yet.

        Args:
            decoder: prediction network.
            joint: its last outputs are the logits of the durations, if there are any.
            durations: encoder frames that each of them stands for (TDT); empty for a plain transducer.
        """
        super().__init__()
        lstm = decoder.prediction["dec_rnn"].lstm
        self.embedding = decoder.prediction["embed"]
        self.lstm = nn.ModuleList(LSTMStep(lstm, layer) for layer in range(lstm.num_layers))
        self.project_encoder = joint.enc
        self.project_prediction = joint.pred
        self.joint = joint.joint_net
        self.temperature = float(joint.temperature)
        self.labels = joint.num_classes_with_blank - joint.num_extra_outputs
        self.register_buffer("durations", torch.tensor(durations, dtype=torch.int32))
        self.durations: Tensor

    def forward(self, encoded: Tensor, target: Tensor, state_h: Tensor, state_c: Tensor) -> tuple[Tensor, ...]:
        """Feed a label to the prediction network and join it with every frame.

        Args:
            encoded: [B, T, encoder_dim] float32.
            target: [B, 1] int32, the label emitted last; the blank before the first.
            state_h: LSTM state before target, [B, prediction_layers, prediction_hidden] float32.
            state_c: as state_h.

        Returns:
            label [B, T] int32, label_log_prob [B, T] float32 and label_confidence [B, T] float32, the best label of
            every frame; log_probs [B, T, vocabulary + 1] float32; state_h_next, state_c_next as given, after target;
            duration [B, T] int32 where there are durations.
        """
        x = self.embedding(target[:, 0])
        h_next, c_next = [], []
        for index, step in enumerate(self.lstm):
            x, c = step(x, state_h[:, index], state_c[:, index])
            h_next.append(x)
            c_next.append(c)
        joined = self.project_encoder(encoded) + self.project_prediction(x).unsqueeze(1)
        logits = self.joint(joined) / self.temperature
        log_probs = logits[..., : self.labels].log_softmax(dim=-1)
        best, label = log_probs.max(dim=-1)
        outputs = (
            label.to(torch.int32),
            best,
            confidence(log_probs),
            log_probs,
            torch.stack(h_next, dim=1),
            torch.stack(c_next, dim=1),
        )
        if not len(self.durations):
            return outputs
        return (*outputs, self.durations[logits[..., self.labels :].argmax(dim=-1)])


def confidence(log_probs: Tensor) -> Tensor:
    """Confidence in a distribution [..., labels] as `backends/rnnt_decoder/confidence.py` has it."""
    labels = log_probs.shape[-1]
    least = math.exp((1 - labels ** (1 - CONFIDENCE_ALPHA)) / (1 - CONFIDENCE_ALPHA))
    entropy = (1 - (CONFIDENCE_ALPHA * log_probs).exp().sum(dim=-1)) / (1 - CONFIDENCE_ALPHA)
    return (entropy.exp() - least) / (1 - least)

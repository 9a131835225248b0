"""GPO at the paper's size: all users in one forward beside the original's user by user, target by target.

32 users, 10 context pairs, 5 targets in both orders, embeddings of width 4,096; 6 layers,
4 heads, width 128. Logits, loss and gradients are compared first; times are medians of
five in one thread. A step is loss, gradient, clipping and Adam on the same batch; both
sides run all users of a step in one forward there, and differ in the loss's loops over rows
and questions, in what is computed for target columns, and in the fused optimizer; the
operations of a step are counted too.

    python benchmarks/gpo.py [--users 32] [--context 10] [--targets 5] [--dim 4096] [--json FILE]
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _table import median_of_five, parser_of, write_json
from reference.gpo import ReferenceGPO, evaluate, loss, reference_from
from torch.utils._python_dispatch import TorchDispatchMode

from personalrm.rewards.heads.gpo.episodes import Episode, Style, episode_loss
from personalrm.rewards.heads.gpo.model import GPOState, forward_users
from personalrm.rewards.heads.gpo.network import GPONetwork, GPOShape

STYLE = Style("zero_pad", is_antisymmetric=False)
TARGET = 15.0


def make_episode(n_users: int, n_context: int, n_targets: int, dim: int) -> Episode:
    """Random tokens of the `pair` kind and random labels."""
    generator = torch.Generator().manual_seed(0)
    coins = [torch.randint(0, 2, (n_users, n), generator=generator).float() for n in (n_context, n_targets)]
    return Episode(
        torch.randn(n_users, n_context, dim, generator=generator),
        coins[0],
        torch.ones(n_users, n_context, dtype=torch.bool),
        torch.randn(n_users, n_targets, 2, dim, generator=generator),
        torch.ones(n_users, n_targets),
        coins[1],
        torch.ones(n_users, n_context),
    )


def evaluate_ours(network: GPONetwork, episode: Episode) -> Any:
    """Logits (users, targets, 2) from raw tokens, the context's projection included."""
    n_users, n_targets = episode.weight.shape
    with torch.inference_mode():
        projected = network.project(episode.context).numpy()
    states = [GPOState(own, labels) for own, labels in zip(projected, episode.second.numpy(), strict=True)]
    users = np.repeat(np.arange(n_users), n_targets)
    return forward_users(network, states, users, episode.targets.flatten(0, 1)).reshape(n_users, n_targets, 2)


def evaluate_reference(reference: ReferenceGPO, episode: Episode) -> Any:
    """The same, one forward for each target and order."""
    shown = list(episode.targets.flatten(1, 2))
    found = evaluate(reference, list(episode.context), list(episode.second), shown)
    return torch.stack(found).unflatten(1, (-1, 2)).numpy()


def step(module: torch.nn.Module, value: Callable[[], torch.Tensor]) -> Callable[[], float]:
    """One optimizer step on the same batch again and again."""
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5, fused=isinstance(module, GPONetwork))

    def run() -> float:
        optimizer.zero_grad(set_to_none=True)
        found = value()
        found.backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        return float(found.detach())

    return run


class _Counting(TorchDispatchMode):
    """Counts the operations that run inside it."""

    n: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += 1
        return func(*args, **(kwargs or {}))


def operations(run: Callable[[], Any]) -> int:
    """How many operations of torch a run takes, views and backward included."""
    counting = _Counting()  # type: ignore[no-untyped-call]  # torch gives its class no types
    with counting:
        run()
    return counting.n


def measure(n_users: int, n_context: int, n_targets: int, dim: int) -> dict[str, Any]:
    """Differences, times and ratios."""
    torch.manual_seed(0)
    episode = make_episode(n_users, n_context, n_targets, dim)
    network: Any = GPONetwork(dim, GPOShape(has_null=False)).eval()
    reference = reference_from(network).eval()
    gap = float(np.abs(evaluate_ours(network, episode) - evaluate_reference(reference, episode)).max())
    shown = torch.where(episode.target_second[..., None] > 0, episode.targets[:, :, 1], episode.targets[:, :, 0])
    x, y = torch.cat([episode.context, shown], 1), torch.cat([episode.second, episode.target_second], 1)

    def our_loss() -> torch.Tensor:
        return episode_loss(network, episode, STYLE)

    def reference_loss() -> torch.Tensor:
        return loss(reference, x, y, n_context)

    values = [our_loss(), reference_loss()]
    for value in values:
        value.backward()
    loss_gap = float((values[0] - values[1]).detach().abs())
    gradient_gap = float((network.first.weight.grad - reference.embedder[0].weight.grad[:, :-1]).abs().max())
    if max(gap, loss_gap, gradient_gap) > 1e-4:
        raise SystemExit(f"the two sides differ ({gap:.1e}, {loss_gap:.1e}, {gradient_gap:.1e}); times mean nothing")
    seconds = {
        "evaluation, ours": median_of_five(lambda: evaluate_ours(network, episode)),
        "evaluation, reference": median_of_five(lambda: evaluate_reference(reference, episode)),
        "step, ours": median_of_five(step(network, our_loss)),
        "step, reference": median_of_five(step(reference, reference_loss)),
    }
    count = {
        "ours": operations(step(network, our_loss)),
        "reference": operations(step(reference, reference_loss)),
    }
    ratio = {what: seconds[f"{what}, reference"] / seconds[f"{what}, ours"] for what in ("evaluation", "step")}
    return {
        "users": n_users,
        "context": n_context,
        "targets": n_targets,
        "dim": dim,
        "machine": f"{platform.machine()}, 1 thread, python {platform.python_version()}, torch {torch.__version__}",
        "largest_difference": {"logit": gap, "loss": loss_gap, "gradient": gradient_gap},
        "tokens": {
            "evaluation, ours": n_users * (n_context + 2 * n_targets),
            "evaluation, reference": n_users * 2 * n_targets * (n_context + 1),
        },
        "operations_of_a_step": count,
        "seconds": seconds,
        "ratio": ratio,
        "target_ratio": {"evaluation": TARGET},
        "target_met": ratio["evaluation"] >= TARGET,
    }


def main() -> None:
    """Print a table and JSON."""
    parser = parser_of(__doc__)
    parser.add_argument("--users", type=int, default=32)
    parser.add_argument("--context", type=int, default=10)
    parser.add_argument("--targets", type=int, default=5)
    parser.add_argument("--dim", type=int, default=4096)
    options = parser.parse_args()
    torch.set_num_threads(1)
    result = measure(options.users, options.context, options.targets, options.dim)
    print(f"{'':<14}{'ours, ms':>12}{'reference, ms':>16}{'ratio':>9}")
    for what, ratio in result["ratio"].items():
        ours, theirs = (1e3 * result["seconds"][f"{what}, {side}"] for side in ("ours", "reference"))
        print(f"{what:<14}{ours:>12.1f}{theirs:>16.1f}{ratio:>8.1f}x")
    n = result["operations_of_a_step"]
    print(f"operations of a step: ours {n['ours']:,}, reference {n['reference']:,}")
    write_json(result, options.json)


if __name__ == "__main__":
    main()

from contextlib import closing

from personalrm import SynthesizeMe
from personalrm.induction.draws import assign_roles
from personalrm.testing import ScriptedLM, tiny_pair
from personalrm.testing.skill import skilled


def test_a_new_train_pair_asks_no_finished_question_again_and_keeps_all_roles(tmp_path):
    """It costs at most its own bootstrap, two searches, a persona, and step 3 anew."""
    lm, pairs = ScriptedLM(skilled()), [tiny_pair("u1", k) for k in range(10)]
    with closing(SynthesizeMe(lm, cache=tmp_path / "cache.sqlite").fit(pairs)) as model:
        asked, roles = {request.messages for request in lm.requests}, dict(model.prompt.roles)
        new = next(
            pair
            for pair in (tiny_pair("u1", k) for k in range(50, 99))
            if pair in assign_roles([*pairs, pair], roles).train
        )
        before = len(lm.requests)
        model.fit([*pairs, new])
        fresh = [request.messages for request in lm.requests[before:]]
        n_train, n_validation = (list(model.prompt.roles.values()).count(role) for role in ("train", "validation"))
        search = (model.settings.n_trials + 1) * n_validation * 2
        assert not asked.intersection(fresh)
        assert 0 < len(fresh) <= 1 + search + 1 + n_train + search
        assert roles.items() <= model.prompt.roles.items()


def test_the_same_pairs_again_ask_nothing(tmp_path):
    lm, pairs = ScriptedLM(skilled()), [tiny_pair("u1", k) for k in range(6)]
    with closing(SynthesizeMe(lm, cache=tmp_path / "cache.sqlite").fit(pairs)) as model:
        before, prompt = len(lm.requests), model.prompt
        assert (model.fit(pairs).prompt, len(lm.requests)) == (prompt, before)

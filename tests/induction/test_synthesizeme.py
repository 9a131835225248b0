import asyncio

import pytest

from personalrm import SynthesizeMe, fit_users, read_pairs
from personalrm.errors import BadFile, BadInput, CorruptFile, ModelUnavailable, NotFitted, UnknownName
from personalrm.induction.embedded_fit import EmbeddedFit, sample_choices
from personalrm.induction.settings import VARIANTS, InductionSettings
from personalrm.preferences.messages import Message
from personalrm.preferences.users import User
from personalrm.testing import LONG, SHORT, ScriptedLM, tiny_pair, tiny_users, write_pairs
from personalrm.testing.skill import failing, skilled

ASKED = (Message("user", "How do I get to the lake?"),)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_fits_judges_and_is_deterministic(variant):
    settings = InductionSettings(variant=variant)
    users = tiny_users(8)
    one, again = (SynthesizeMe(settings=settings).fit(users[1], others=users[2:]) for _ in range(2))
    assert one.prompt == again.prompt
    assert one.predict(ASKED, SHORT, LONG).probability is not None
    assert one.prompt.variant == variant


def test_a_fitted_user_is_judged_by_their_own_taste():
    users = tiny_users(8)
    likes_short, likes_long = (SynthesizeMe().fit(users[k], others=users) for k in (1, 0))
    assert likes_short.predict(ASKED, SHORT, LONG).choice == "first"
    assert likes_long.predict(ASKED, SHORT, LONG).choice == "second"


def test_asking_before_fitting_is_a_clear_error():
    with pytest.raises(NotFitted, match="call fit"):
        SynthesizeMe().predict(ASKED, "a", "b")


def test_a_constructor_does_nothing_and_a_model_nobody_can_find_is_one_sentence():
    model = SynthesizeMe(lm="llama")
    with pytest.raises(UnknownName, match="could be anywhere"):
        model.fit(tiny_users(1)[0])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_language_model_fits_judges_and_ranks_through_the_same_interface(variant, tmp_path):
    lm = ScriptedLM(skilled(1.0))
    model = SynthesizeMe(lm, settings=InductionSettings(variant=variant)).fit(tiny_users(2, 8)[1])
    assert model.predict(ASKED, LONG, SHORT).choice == "second"
    assert model.rank(ASKED, [LONG, SHORT, LONG + SHORT]).best == 1
    model.save(tmp_path / "u1.json")
    assert SynthesizeMe.load(tmp_path / "u1.json", lm).predict(ASKED, LONG, SHORT).choice == "second"
    model.close()


def test_a_prompt_made_by_a_model_needs_one_to_judge(tmp_path):
    model = SynthesizeMe(ScriptedLM(skilled(1.0))).fit(tiny_users(2, 8)[1])
    model.save(tmp_path / "u1.json")
    with pytest.raises(ModelUnavailable, match="made by model 'scripted'"):
        SynthesizeMe.load(tmp_path / "u1.json").predict(ASKED, LONG, SHORT)


@pytest.mark.slow
def test_many_users_are_fitted_with_a_model():
    prompts = {prompt.user_id: prompt for prompt in fit_users(tiny_users(6, 8), lm=ScriptedLM(skilled(1.0)))}
    assert [prompts[f"u{k}"].persona.text for k in range(6)] == [
        "Prefers longer answers.",
        "Prefers shorter answers.",
    ] * 3


def test_a_model_that_writes_no_persona_is_one_sentence():
    with pytest.raises(ModelUnavailable, match="1 user could not be fitted, such as 'u0'"):
        SynthesizeMe(ScriptedLM(failing)).fit(tiny_users(1, 8)[0])


def test_pairs_of_two_users_or_none_are_refused():
    with pytest.raises(BadInput, match="fit_users"):
        SynthesizeMe().fit([tiny_pair("a"), tiny_pair("b")])
    with pytest.raises(BadInput, match="no pairs"):
        SynthesizeMe().fit([])
    with pytest.raises(BadInput, match="every row is a target"):
        SynthesizeMe().fit([tiny_pair(split="target")])


@pytest.mark.parametrize("n_pairs", [1, 2])
def test_one_or_two_pairs_work_and_are_flagged(n_pairs):
    model = SynthesizeMe().fit(tiny_users(1, n_pairs)[0])
    assert model.prompt.too_few_pairs
    assert model.predict(ASKED, SHORT, LONG).too_few_pairs


def test_a_single_conversation_with_many_pairs_works():
    pairs = [tiny_pair(number=k, conversation_id="c") for k in range(6)]
    model = SynthesizeMe().fit(pairs)
    assert set(model.prompt.roles.values()) == {"train"}


def test_saving_and_loading_keeps_everything(tmp_path):
    model = SynthesizeMe().fit(tiny_users(1)[0])
    model.save(tmp_path / "u.json")
    loaded = SynthesizeMe.load(tmp_path / "u.json")
    assert loaded.predict(ASKED, SHORT, LONG).choice == model.predict(ASKED, SHORT, LONG).choice
    assert loaded.prompt.persona == model.prompt.persona
    loaded.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "u.json").read_bytes()


def test_an_edited_persona_is_honored_and_saved(tmp_path):
    model = SynthesizeMe().fit(tiny_users(1)[0])
    before = model.predict(ASKED, SHORT, LONG).probability
    model.edit_persona(["Prefers far shorter answers than most people.", "Has two cats."]).save(tmp_path / "u.json")
    after = SynthesizeMe.load(tmp_path / "u.json").predict(ASKED, SHORT, LONG).probability
    assert after > before


def test_messages_and_prompts_for_a_model_are_rendered():
    model = SynthesizeMe().fit(tiny_users(1)[0])
    assert model.judge_messages(ASKED, "a", "b")[0].role == "system"
    assert "Answer the way" in model.generation_prompt()
    assert SHORT not in repr(model)


def test_many_users_stream_from_a_file(tmp_path):
    users = tiny_users(8)
    path = write_pairs(tmp_path / "prefs.jsonl", [pair for user in users for pair in user])
    from_file, from_memory = list(fit_users(path)), list(fit_users(read_pairs(path)))
    assert from_file == from_memory
    assert [prompt.user_id for prompt in from_file] == [user.user_id for user in users]


def test_plain_functions_work_inside_a_running_event_loop():
    async def main():
        return SynthesizeMe().fit(tiny_users(1)[0]).predict(ASKED, SHORT, LONG)

    assert asyncio.run(main()).is_scored


def test_the_population_sample_is_bounded_and_does_not_depend_on_order():
    users = tiny_users(30)
    assert sample_choices(users, most=10).keys() == sample_choices(reversed(users), most=10).keys()
    assert len(sample_choices(users, most=10)) == 10


def test_few_users_fall_back_to_the_shipped_prior():
    engine = EmbeddedFit.learned_from(tiny_users(2))
    assert engine.prior_for("u0") is engine.prior_for("u1")


def test_a_language_the_word_lists_do_not_cover_is_noted():
    pair = tiny_pair()
    spanish = User(
        "u1",
        tuple(
            type(pair)(
                "u1",
                (Message("user", f"¿Qué cocino hoy? {k}"),),
                f"Haz una sopa con pan y un poco de queso rallado {k}.",
                f"Prepara una ensalada grande con tomate y aceite de oliva {k}.",
            )
            for k in range(4)
        ),
    )
    notes = SynthesizeMe().fit(spanish).prompt.notes
    assert any("language" in note for note in notes)


def test_users_may_come_from_a_generator_or_a_mapping():
    users = tiny_users(8)
    by_id = {user.user_id: user for user in users}
    assert len(list(fit_users(user for user in users))) == 8
    one, other = (SynthesizeMe().fit(users[1], others=others) for others in (by_id, users))
    assert one.prompt == other.prompt


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.edit_persona("Prefers longer answers."), "sentences is of type str, not a list of str"),
        (lambda model: model.rank(ASKED, "abc"), "completions is of type str"),
        (lambda model: model.rank(ASKED, ["a", 3]), "completions has a value of type int at index 1"),
        (lambda model: model.predict("hi", "a", "b"), "conversation is of type str, not a list of Message"),
        (
            lambda model: model.predict([{"role": "user", "content": "hi"}], "a", "b"),
            "conversation has a value of type dict",
        ),
        (lambda model: model.predict(ASKED, None, "b"), "completions has a value of type NoneType"),
        (lambda model: model.judge_messages("hi", "a", "b"), "conversation is of type str"),
        (lambda model: model.fit({"u": tiny_users(1)[0]}), "pairs has a value of type User"),
        (lambda model: model.fit(tiny_users(1)[0], others=["u1"]), "others has a value of type str"),
        (lambda model: model.fit(tiny_users(1)[0], others=tiny_users(2) * 2), "user 'u1' is given twice"),
        (lambda model: fit_users(tiny_users(1) * 2), "user 'u0' is given twice"),
        (lambda model: fit_users(None), "users is of type NoneType"),
    ],
)
def test_an_argument_of_another_kind_is_refused_in_one_sentence(call, message):
    model = SynthesizeMe().fit(tiny_users(1)[0])
    with pytest.raises(BadInput, match=message):
        call(model)


def test_loading_what_is_no_prompt_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "latin.json").write_bytes(b"\xff\xfe")
    with pytest.raises(CorruptFile, match="not UTF-8"):
        SynthesizeMe.load(tmp_path / "latin.json")
    with pytest.raises(BadFile, match="cannot be read"):
        SynthesizeMe.load(tmp_path / "nothing.json")

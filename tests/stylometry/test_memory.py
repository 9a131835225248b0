"""How much the embedded engine remembers of texts: bytes, not texts."""

import threading

from personalrm.stylometry.features import _Memory, _read, read


def test_long_texts_take_the_place_of_many_short_ones():
    memory = _Memory(2**20)
    for number in range(400):
        text = f"number {number} " + "word " * 2000
        memory.keep(text, _read(text))
        assert memory.n_bytes <= 2**20
    assert memory.find(text) is not None
    assert memory.find("number 0 " + "word " * 2000) is None


def test_a_text_that_is_a_large_part_of_the_memory_is_not_remembered():
    memory = _Memory(2**16)
    memory.keep("short", _read("short"))
    memory.keep("x" * 2**15, _read("long"))
    assert (memory.find("short") is not None, memory.find("x" * 2**15)) == (True, None)


def test_what_was_asked_for_lately_stays():
    memory = _Memory(6_000)
    memory.keep("a", _read("a"))
    for number in range(40):
        assert memory.find("a") is not None
        memory.keep(str(number), _read("b"))


def test_a_text_is_read_once():
    assert read("A text like any other.") is read("A text like any other.")


def test_threads_do_not_miscount():
    memory = _Memory(10_000)

    def work(start):
        for number in range(300):
            memory.keep(f"{start} {number}", _read("x"))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0 < memory.n_bytes <= 10_000

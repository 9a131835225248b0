from importlib.resources import files

import numpy as np

from personalrm.stylometry.shipped import make_prior, shipped_prior


def test_the_shipped_prior_is_what_its_script_makes():
    shipped = (files("personalrm.stylometry") / "prior.json").read_text(encoding="utf-8")
    assert make_prior() == shipped


def test_the_shipped_prior_is_usable():
    prior = shipped_prior()
    assert (prior.scale > 0).all()
    assert (prior.variance > 0).all()
    assert np.isfinite(prior.mean).all()

"""VPL whose decoder reads a language model that is trained along (paper 5.1): the published setting."""

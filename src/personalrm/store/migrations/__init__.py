"""How older databases of people become the present one; imported only when there is one."""

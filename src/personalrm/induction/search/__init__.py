"""Search for the persona prompt (paper section 3.2, appendix F)."""

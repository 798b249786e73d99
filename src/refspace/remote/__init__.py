"""What lies on other machines: reading it piece by piece, and bringing whole files here."""

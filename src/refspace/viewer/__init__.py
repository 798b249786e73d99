"""A viewer in the browser: neuroglancer's client, served on loopback, and files for other hosts."""

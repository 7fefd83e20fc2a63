"""Reference supernets, one readable file each with ``build()`` and ``example_input()``.

``digits`` can be trained as it stands: ``python -m models.digits``. The others are architectures to measure by.
"""

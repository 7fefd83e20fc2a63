"""Reference supernets, one readable file each with ``build()`` and ``example_input()``; data and a program for them.

``digits`` is a whole example in one file, ``python -m models.digits``. ``python -m models NAME`` trains any of them.
"""

"""Encoders: networks, the methods that train them, random views, and the training loop.

Read training.py first: its ``train_encoder`` makes every encoder, and ``Loop`` is its loop. A
method (methods/) is a loss of some views (views/) of each image; gradients.py and dp_sgd.py say
how a step draws samples and finds gradients, without and with differential privacy.
"""

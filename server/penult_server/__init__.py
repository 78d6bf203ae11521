"""The service: registry, jobs, datasets, backbones, finetuning, extraction, stores, queries."""

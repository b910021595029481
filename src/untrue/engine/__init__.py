"""Local inference: likelihoods of replies with shared prefixes, and generation, behind an Inspect provider."""

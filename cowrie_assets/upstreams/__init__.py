"""The services, one file each: what each is asked and how its answer reads. No cache, no limiter, no Dagster."""

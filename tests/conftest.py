"""For all tests: hypothesis measures no time. A busy machine is no fault of the code, and speed has benchmarks."""

from hypothesis import HealthCheck, settings

settings.register_profile("timeless", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("timeless")

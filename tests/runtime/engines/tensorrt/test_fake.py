"""The fake has the names of each version and no others, so that the code which runs on it uses none that is missing."""

from __future__ import annotations

import pytest

from fake_tensorrt import VERSIONS, FakeTensorRt, names_of

CLASSES = (
    "Builder",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "INetworkDefinition",
    "OnnxParser",
    "Runtime",
)


@pytest.fixture(params=VERSIONS)
def fake(request):
    return FakeTensorRt(request.param)


@pytest.mark.parametrize("kind", CLASSES)
def test_a_class_has_the_names_of_its_version_and_no_others(fake, kind):
    found = {name for name in dir(getattr(fake.module, kind)) if not name.startswith("_")}
    assert found == set(names_of(fake.version)[kind])


@pytest.mark.parametrize("kind", ["BuilderFlag", "DataType", "MemoryPoolType", "NetworkDefinitionCreationFlag"])
def test_an_enum_has_the_names_of_its_version_and_no_others(fake, kind):
    found = {name for name in dir(getattr(fake.module, kind)) if not name.startswith("_")}
    assert found == set(names_of(fake.version)[kind])


def test_what_a_version_lacks_can_be_neither_read_nor_set(fake):
    config = fake.module.Builder(fake.module.Logger()).create_builder_config()
    if fake.number() >= 10:
        config.progress_monitor = None
        assert hasattr(fake.module, "IProgressMonitor")
        return
    for use in (lambda: config.progress_monitor, lambda: setattr(config, "progress_monitor", None)):
        with pytest.raises(AttributeError, match="progress_monitor"):
            use()
    assert not hasattr(fake.module, "IProgressMonitor")


def test_a_name_that_is_not_imitated_says_so(fake):
    with pytest.raises(NotImplementedError, match=r"the fake does not imitate Builder\.reset"):
        fake.module.Builder(fake.module.Logger()).reset()

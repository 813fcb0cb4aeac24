"""Computes the tensors of a merged model as planned by `harness/source/merge_plan.py`, one weight file at a time.

Runs as a plain script of the toolchain, where the harness cannot be imported:
`python merge_worker.py JOB_FILE RESULT_FILE`. The job is `{"files", "adapter", "target", "plan"}`, the result
`{"is_untied"}`; or `{"pickled", "target"}`, which rewrites a pickled adapter as safetensors.
"""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

JsonObject = dict[str, Any]


class JobError(Exception):
    """The job cannot be done; its text is for the user."""

    def __init__(self, what: str, next_step: str | None = None) -> None:
        super().__init__(what)
        self.next_step = next_step


class Merge:
    """The plan at work. Sums are made in float32 and stored in the type of the base."""

    def __init__(self, plan: JsonObject, adapter: Any) -> None:
        self.changes: JsonObject = plan["changes"]
        self.tie: JsonObject | None = plan["tie"]
        self.adapter = adapter
        self.is_untied = False
        self.is_idle = True

    def file(self, stream: Any) -> JsonObject:
        """The merged tensors of an open weight file of the base."""
        tensors: JsonObject = {}
        for name in stream.keys():  # noqa: SIM118
            if self.tie is None or name not in (self.tie["embedding"], self.tie["head"]):
                tensors[name] = self._changed(name, stream.get_tensor(name))
            elif name == self.tie["embedding"]:
                tensors |= self._embeddings(self.tie, stream.get_tensor(name))
        return tensors

    def _embeddings(self, tie: JsonObject, stored: Any) -> JsonObject:
        """The matrix that embedding and head share; two where they have parted. A stored copy of it is left out."""
        import torch

        shared = [self._tensor(name).to(stored.dtype) for name in tie["shared"]]
        if any(not torch.equal(one, shared[0]) for one in shared):
            raise JobError(f"the base has one matrix for what {' and '.join(tie['shared'])} hold two of")
        common = shared[0] if shared else stored
        embedding = self._changed(tie["embedding"], common)
        head = embedding if tie["follows"] else self._changed(tie["head"], common)
        self.is_idle = self.is_idle and torch.equal(embedding, stored) and torch.equal(head, stored)
        self.is_untied = not torch.equal(embedding, head)
        return {tie["embedding"]: embedding} | ({tie["head"]: head} if self.is_untied else {})

    def _changed(self, name: str, old: Any) -> Any:
        import torch

        change = self.changes.get(name)
        if change is None:
            return old
        new = (self._tensor(change["replacement"]) if change["replacement"] else old).float()
        if change["lora"]:
            new = self._with_lora(new, change["lora"])
        if change["rows"]:
            new = new.index_copy(0, torch.tensor(change["rows"]["indices"]), self._tensor(change["rows"]["values"]))
        if change["addend"]:
            bias, factor = change["addend"]
            new = new + factor * self._tensor(bias)
        new = new.to(old.dtype).contiguous()
        if not torch.isfinite(new).all():
            raise JobError(
                f"merged, {name} holds NaN or infinity in {str(old.dtype).removeprefix('torch.')}",
                "look for NaN in the adapter, or save its base in a wider type (bfloat16 or float32) first",
            )
        self.is_idle = self.is_idle and torch.equal(new, old)
        return new

    def _with_lora(self, weight: Any, lora: JsonObject) -> Any:
        """The sum with the product; for DoRA, with its rows (of an embedding: columns) brought to their lengths."""
        product = lora["scale"] * (self._tensor(lora["up"]) @ self._tensor(lora["down"]))
        weight = weight + (product.T if lora["is_embedding"] else product)
        if lora["magnitude"] is None:
            return weight
        along = 0 if lora["is_embedding"] else 1
        factor = self._tensor(lora["magnitude"]) / weight.norm(dim=along)
        return weight * factor.unsqueeze(along)

    def _tensor(self, name: str) -> Any:
        return self.adapter.get_tensor(name).float()


def merge(job: JsonObject) -> JsonObject:
    """Write the merged weight files, and the index of several."""
    from safetensors import safe_open
    from safetensors.torch import save_file

    target = Path(job["target"])
    target.mkdir(parents=True)
    places: dict[str, str] = {}
    total_bytes = 0
    with safe_open(job["adapter"], "pt") as adapter:
        work = Merge(job["plan"], adapter)
        for file in map(Path, job["files"]):
            with safe_open(file, "pt") as stream:
                tensors = work.file(stream)
            save_file(tensors, target / file.name, metadata={"format": "pt"})
            places |= dict.fromkeys(tensors, file.name)
            total_bytes += sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    if work.is_idle:
        raise JobError(
            "the adapter changes nothing: merged, every weight is what its base has",
            "was it saved before it was trained, or from the wrong process? Save it again",
        )
    if job["files"] != [str(Path(job["files"][0]).with_name("model.safetensors"))]:
        index = {"metadata": {"total_size": total_bytes}, "weight_map": places}
        (target / "model.safetensors.index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return {"is_untied": work.is_untied}


def unpickle(job: JsonObject) -> JsonObject:
    """Rewrite tensors; anything but tensors in the pickle is refused by torch."""
    import torch
    from safetensors.torch import save_file

    try:
        tensors = torch.load(job["pickled"], map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise JobError("the adapter's pickle holds more than tensors, and is not opened") from error
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, job["target"])
    return {}


def main(job_file: str, result_file: str) -> None:
    """Do the job; what stands in its way is a result too."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    try:
        result = unpickle(job) if "pickled" in job else merge(job)
    except JobError as error:
        result = {"error": {"what": str(error), "where": None, "next_step": error.next_step}}
    Path(result_file).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])

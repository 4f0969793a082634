"""The methods of a module that register hooks."""

from __future__ import annotations

from tensorgrad.nn.hooks import Forward, Hook, Hooks, RemovableHandle


class Hookable:
    """What `Module` is called through: tables of hooks, made when the first one comes."""

    _hooks: Hooks | None  # None until the first one is registered

    def _tables(self) -> Hooks:
        if self._hooks is None:
            self.__dict__["_hooks"] = Hooks()
        return self._hooks  # type: ignore[return-value]

    def register_forward_pre_hook(
        self, hook: Hook, *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Call `hook(module, args)` before `forward`; what it returns replaces the arguments.

        With `with_kwargs` it is called as `hook(module, args, kwargs)` and returns None or both.
        `prepend` puts it before the hooks that are there.
        """
        return RemovableHandle(self._tables().before, Forward(hook, with_kwargs), prepend)

    def register_forward_hook(
        self,
        hook: Hook,
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Call `hook(module, args, output)` after `forward`; its result replaces the output.

        With `with_kwargs` it is called as `hook(module, args, kwargs, output)`; with `always_call`
        also when `forward` raised, with None for the output.
        """
        entry = Forward(hook, with_kwargs, always_call)
        return RemovableHandle(self._tables().after, entry, prepend)

    def register_full_backward_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_input, grad_output)` when the gradients of the inputs are known.

        Tuples with an entry for each positional argument and each output, None for what is no
        floating tensor, and for an output that no gradient reached. A tuple that it returns
        replaces `grad_input` in what follows. Where no input requires a gradient it is called with
        Nones when those of the outputs are known. In forward mode and inside `vmap` no hook is
        called.
        """
        return RemovableHandle(self._tables().backward, hook, prepend)

    def register_full_backward_pre_hook(self, hook: Hook, prepend: bool = False) -> RemovableHandle:
        """Call `hook(module, grad_output)` before backward goes through the module.

        A tuple that it returns replaces `grad_output`.
        """
        return RemovableHandle(self._tables().backward_before, hook, prepend)

    def register_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, prefix, keep_vars)` before `state_dict` reads this module."""
        return RemovableHandle(self._tables().saving, hook)

    def register_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, state_dict, prefix, local_metadata)` after `state_dict` read it.

        It changes the dict in place: what is under `prefix` is this module's. The metadata are
        an empty dict.
        """
        return RemovableHandle(self._tables().saved, hook)

    def register_load_state_dict_pre_hook(self, hook: Hook) -> RemovableHandle:
        """Call the hook before `load_state_dict` reads what is under this module's name.

        As `hook(module, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
        error_msgs)`; it may change the dict, which is a copy, and add to the lists.
        """
        return RemovableHandle(self._tables().loading, hook)

    def register_load_state_dict_post_hook(self, hook: Hook) -> RemovableHandle:
        """Call `hook(module, incompatible_keys)` after the module was loaded, parts first.

        It may change the lists `missing_keys` and `unexpected_keys`, which `strict` then judges.
        """
        return RemovableHandle(self._tables().loaded, hook)

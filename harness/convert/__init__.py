"""From a source model and recipes to artifacts: conversion jobs for Olive, and why one failed."""
